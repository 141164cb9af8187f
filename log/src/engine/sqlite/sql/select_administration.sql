SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
       metadata, context
FROM events INDEXED BY events_of_administration
    LEFT JOIN contexts ON number = metadata
WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
  AND aggregate_type <> 'alert'

SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
       metadata, context
FROM events INDEXED BY events_by_type_of_stream
    LEFT JOIN contexts ON number = metadata
WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
  AND aggregate_type <> 'alert'
  AND aggregate_id = ?1 AND aggregate_type = ?2 AND event_type = ?3 AND sequence <= ?4
ORDER BY sequence DESC
LIMIT 1

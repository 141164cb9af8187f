SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
       metadata, context
FROM events
    LEFT JOIN contexts ON number = metadata

SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
       metadata, context
FROM events
    LEFT JOIN contexts ON number = metadata AND CAST(number AS TEXT) = metadata
WHERE position > ?1 AND position <= ?2
ORDER BY position
LIMIT ?3

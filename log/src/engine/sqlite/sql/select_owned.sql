SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
       metadata, context
FROM owner_blocks CROSS JOIN events ON position BETWEEN block * 64 AND block * 64 + 63
    LEFT JOIN contexts ON number = metadata
WHERE owner = ?1 AND block BETWEEN ?2 / 64 AND ?3 / 64 AND +position > ?2 AND +position <= ?3

-- The index that makes streams unique, in its own order: named, so that its absence is found instead of sorted away.
SELECT aggregate_id, aggregate_type, sequence, position
FROM events INDEXED BY sqlite_autoindex_events_1
WHERE (aggregate_id, aggregate_type, sequence) > (?1, ?2, ?3)
ORDER BY aggregate_id, aggregate_type, sequence
LIMIT ?4

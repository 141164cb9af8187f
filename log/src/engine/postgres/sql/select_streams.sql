-- The index that makes streams unique, in its own order: the order of bytes, by the collation of its columns.
SELECT aggregate_id, aggregate_type, sequence, position
FROM ledger.events
WHERE (aggregate_id, aggregate_type, sequence) > ($1, $2, $3)
ORDER BY aggregate_id, aggregate_type, sequence
LIMIT $4

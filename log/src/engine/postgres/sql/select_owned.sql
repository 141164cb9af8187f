-- The events in an owner's blocks, in the columns of SELECT_EVENTS. Conditions and an order follow. The limit tells the
-- planner how few events a block has: it would otherwise read all contexts to join a few.
SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
       shared
FROM ledger.owner_blocks
    CROSS JOIN LATERAL (
        SELECT e.*, c.context AS shared
        FROM (SELECT * FROM ledger.events WHERE position BETWEEN block * 64 AND block * 64 + 63
              ORDER BY position LIMIT 64) AS e
            LEFT JOIN ledger.contexts AS c ON c.id = e.context
        ORDER BY position
        OFFSET 0
    ) AS in_block
WHERE owner = $1 AND block BETWEEN $2 / 64 AND $3 / 64 AND position > $2 AND position <= $3

INSERT INTO balances (budget_id, window_start, limit_nanos, settled, held, announced, position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (budget_id, window_start) DO UPDATE
SET limit_nanos = excluded.limit_nanos, settled = excluded.settled, held = excluded.held,
    announced = excluded.announced, position = excluded.position

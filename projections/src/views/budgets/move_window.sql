INSERT INTO rows_budget_windows (budget_id, window_start, settled_nanos, held_nanos, own_nanos) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (budget_id, window_start) DO UPDATE
SET settled_nanos = exact_add(settled_nanos, excluded.settled_nanos),
    held_nanos = exact_add(held_nanos, excluded.held_nanos),
    own_nanos = exact_add(own_nanos, excluded.own_nanos)

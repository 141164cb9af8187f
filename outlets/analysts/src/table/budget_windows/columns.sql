SELECT settled_nanos IS NOT NULL, budget_id, window_start, settled_nanos, held_nanos

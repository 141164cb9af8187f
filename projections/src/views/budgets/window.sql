SELECT settled_nanos, held_nanos, own_nanos FROM rows_budget_windows WHERE budget_id = ?1 AND window_start = ?2

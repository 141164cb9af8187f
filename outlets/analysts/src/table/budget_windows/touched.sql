FROM (SELECT DISTINCT budget_id, window_start FROM touched_budget_windows WHERE at > ?1)
LEFT JOIN rows_budget_windows USING (budget_id, window_start)

FROM (SELECT DISTINCT budget_id FROM touched_budgets WHERE at > ?1)
LEFT JOIN rows_budgets USING (budget_id)

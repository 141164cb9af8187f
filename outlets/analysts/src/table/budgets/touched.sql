FROM (SELECT DISTINCT budget_id FROM touched_budgets WHERE at > ?1)
LEFT JOIN budgets USING (budget_id)

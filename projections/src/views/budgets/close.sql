UPDATE rows_budgets SET closed_at = ?2, position = ?3 WHERE budget_id = ?1

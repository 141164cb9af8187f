FROM budgets
ORDER BY budget_id

FROM rows_budgets
ORDER BY budget_id

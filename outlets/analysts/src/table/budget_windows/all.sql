FROM rows_budget_windows
ORDER BY budget_id, window_start

SELECT position, recorded_at FROM rows_inferences WHERE position >= ?1 ORDER BY position LIMIT 1

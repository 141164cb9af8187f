SELECT recorded_at FROM rows_inferences WHERE key_id = ?1 ORDER BY position DESC LIMIT 1

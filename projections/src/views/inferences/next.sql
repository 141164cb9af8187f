SELECT position, recorded_at FROM inferences WHERE position >= ?1 ORDER BY position LIMIT 1

SELECT position, recorded_at FROM audit WHERE position >= ?1 ORDER BY position LIMIT 1

SELECT position
FROM rows_other_usage
WHERE recorded_at >= ?1 AND refused <> 0
ORDER BY recorded_at DESC, position DESC
LIMIT ?2

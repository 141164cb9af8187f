FROM other_usage
WHERE position > ?1

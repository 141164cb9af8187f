       exact_sums(refused)
FROM usage_by_hour

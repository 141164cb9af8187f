       sum(refused)
FROM usage_by_hour

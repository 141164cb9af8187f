FROM other_usage
ORDER BY position

FROM rows_other_usage
ORDER BY position

FROM rows_other_usage
WHERE position > ?1

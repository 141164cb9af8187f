FROM rows_inferences
ORDER BY position

SELECT coalesce(max(position), 0) FROM rows_inferences

FROM (
    SELECT * FROM rows_inferences
    WHERE position > 0 AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

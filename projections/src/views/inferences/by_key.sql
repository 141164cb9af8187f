FROM (
    SELECT * FROM rows_inferences
    WHERE key_id = :key AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

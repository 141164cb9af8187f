FROM (
    SELECT * FROM inferences
    WHERE position > 0 AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

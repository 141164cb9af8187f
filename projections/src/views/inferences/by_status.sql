FROM (
    SELECT * FROM rows_inferences
    WHERE status = :status AND status <> 'admitted' AND status <> 'completed' AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

FROM (
    SELECT * FROM inferences
    WHERE status = :status AND status IN ('failed', 'aborted', 'refused') AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

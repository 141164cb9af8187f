FROM (
    SELECT * FROM rows_audit
    WHERE resource_id = :resource_id AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

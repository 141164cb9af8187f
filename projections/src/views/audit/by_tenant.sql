FROM (
    SELECT * FROM rows_audit
    WHERE tenant_id = :visible_tenant AND :resource_id IS NULL AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

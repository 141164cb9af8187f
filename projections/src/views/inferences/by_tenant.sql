FROM (
    SELECT * FROM rows_inferences
    WHERE tenant_id = coalesce(:visible_tenant, :tenant) AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)

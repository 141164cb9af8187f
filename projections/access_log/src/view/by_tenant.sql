FROM (
    SELECT * FROM requests
    WHERE tenant_id = :visible_tenant AND :request_id IS NULL AND id >= :first AND id < :before
    ORDER BY id DESC LIMIT :scan_max
)

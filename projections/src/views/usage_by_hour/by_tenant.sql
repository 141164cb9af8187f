      AND tenant_id = coalesce(:visible_tenant, :tenant)

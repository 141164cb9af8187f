WHERE tenant_id = :visible_tenant AND :resource_id IS NULL

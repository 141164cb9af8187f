SELECT name, partner_id, tenant_id FROM catalogue WHERE kind = ?1 AND id = ?2

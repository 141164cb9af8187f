WHERE c.kind = :kind AND c.id = :id
  AND (:visible_partner IS NULL OR c.partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR c.tenant_id = :visible_tenant)

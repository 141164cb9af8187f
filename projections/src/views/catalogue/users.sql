SELECT id FROM rows_catalogue
WHERE kind = 'user'
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
LIMIT :rows

SELECT name FROM rows_catalogue
WHERE kind = :kind AND id = :id
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant OR id = :own_partner)

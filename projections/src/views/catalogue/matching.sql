SELECT id FROM rows_catalogue
WHERE kind = :kind
  AND (name = :text
       OR :kind IN ('partner', 'tenant', 'user', 'team') AND (body ->> '$.slug' = :text OR body ->> '$.external_id' = :text))
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant OR :kind = 'partner' AND id = :own_partner)
LIMIT :rows

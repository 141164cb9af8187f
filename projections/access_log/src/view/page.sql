WHERE (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:actor IS NULL OR actor = :actor)
  AND (:method IS NULL OR method = :method)
  AND (:route IS NULL OR route = :route)
  AND status >= :status_min AND status <= :status_max
LIMIT :rows

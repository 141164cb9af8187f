WHERE (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:actor IS NULL OR actor = :actor)
  AND (:action IS NULL OR action = :action)
  AND (:resource IS NULL OR resource = :resource)
  AND (:categories IS NULL OR instr(:categories, ',' || category || ',') > 0)
  AND (:severity IS NULL OR severity = :severity)
  AND (:q IS NULL OR instr(lower(actor || ' ' || action || ' ' || resource || ' ' || changes), :q) > 0)
LIMIT :rows

SELECT coalesce(sum(calls), 0)
FROM rows_failed_calls
WHERE provider_id = :provider AND model = :model
  AND hour >= :from AND hour < :to
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:tenant IS NULL OR tenant_id = :tenant)

SELECT partner_id, tenant_id, user_id, key_id, exact_sums(requests, failed, refused), max(hour)
FROM rows_usage_by_hour
WHERE hour >= :from AND hour < :to
  AND model = :model
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:tenant IS NULL OR tenant_id = :tenant)
GROUP BY partner_id, tenant_id, user_id, key_id
HAVING :continues = 0 OR (partner_id, tenant_id, user_id, key_id) > (:after_0, :after_1, :after_2, :after_3)
ORDER BY partner_id, tenant_id, user_id, key_id
LIMIT :rows

SELECT budget_id, body, limit_nanos, period, opened_position, closed_at
FROM rows_budgets
WHERE opened_position < :before
  AND (:include_ended OR closed_at IS NULL)
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
ORDER BY opened_position DESC
LIMIT :rows

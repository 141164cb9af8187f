SELECT budget_id, body, limit_nanos, period, opened_position, closed_at
FROM rows_budgets
WHERE budget_id = :budget
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)

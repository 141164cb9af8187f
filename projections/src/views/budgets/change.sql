UPDATE rows_budgets SET partner_id = ?2, tenant_id = ?3, limit_nanos = ?4, period = ?5, body = ?6, position = ?7
WHERE budget_id = ?1

INSERT INTO rows_budgets (budget_id, partner_id, tenant_id, limit_nanos, period, body, opened_position, opened_at, closed_at,
                     position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?7)

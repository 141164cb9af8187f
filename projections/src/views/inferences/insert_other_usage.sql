INSERT INTO rows_other_usage (
    position, recorded_at, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer, refused, cost_nanos
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)

INSERT INTO rows_failed_calls (provider_id, model, hour, tenant_id, partner_id, calls)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (provider_id, model, hour, tenant_id, partner_id) DO UPDATE SET calls = calls + excluded.calls

INSERT INTO rows_usage_latency (hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer,
                                latency_ms, latency_requests)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer) DO UPDATE
SET latency_ms = excluded.latency_ms, latency_requests = excluded.latency_requests

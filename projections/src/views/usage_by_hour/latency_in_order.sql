SELECT hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer, latency_ms,
       latency_requests
FROM rows_usage_latency
ORDER BY hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer

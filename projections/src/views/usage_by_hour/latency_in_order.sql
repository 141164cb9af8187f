SELECT hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer, histogram
FROM usage_latency
ORDER BY hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer

FROM rows_usage_by_hour
LEFT JOIN rows_usage_latency USING (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
ORDER BY hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer

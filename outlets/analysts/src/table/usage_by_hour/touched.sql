FROM (SELECT DISTINCT hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer FROM touched_usage
      WHERE at > ?1)
LEFT JOIN rows_usage_by_hour USING (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
LEFT JOIN rows_usage_latency USING (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)

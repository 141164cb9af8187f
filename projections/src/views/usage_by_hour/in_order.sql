SELECT hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, requests, refused, failed,
       input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
       output_reasoning_tokens, cost_nanos
FROM usage_by_hour
ORDER BY hour, tenant_id, key_id, model, backend, partner_id, user_id, provider

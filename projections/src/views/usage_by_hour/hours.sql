    SELECT hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, requests, refused, failed,
           input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
           output_reasoning_tokens, cost_nanos, 0 AS corrected_nanos, NULL AS latency_ms
    FROM usage_by_hour
    WHERE hour >= :from AND hour < :to

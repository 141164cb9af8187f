INSERT INTO rows_usage_by_hour (hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer, requests,
                           refused, failed, input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens,
                           output_text_tokens, output_reasoning_tokens, cost_nanos)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
-- Most additions are zero, for which no function has to be called.
ON CONFLICT (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer) DO UPDATE SET
    requests = requests + excluded.requests,
    refused = iif(excluded.refused = 0, refused, exact_add(refused, excluded.refused)),
    failed = failed + excluded.failed,
    input_uncached_tokens = iif(excluded.input_uncached_tokens = 0, input_uncached_tokens,
        exact_add(input_uncached_tokens, excluded.input_uncached_tokens)),
    input_cache_read_tokens = iif(excluded.input_cache_read_tokens = 0, input_cache_read_tokens,
        exact_add(input_cache_read_tokens, excluded.input_cache_read_tokens)),
    input_cache_write_tokens = iif(excluded.input_cache_write_tokens = 0, input_cache_write_tokens,
        exact_add(input_cache_write_tokens, excluded.input_cache_write_tokens)),
    output_text_tokens = iif(excluded.output_text_tokens = 0, output_text_tokens,
        exact_add(output_text_tokens, excluded.output_text_tokens)),
    output_reasoning_tokens = iif(excluded.output_reasoning_tokens = 0, output_reasoning_tokens,
        exact_add(output_reasoning_tokens, excluded.output_reasoning_tokens)),
    cost_nanos = iif(excluded.cost_nanos = 0, cost_nanos, exact_add(cost_nanos, excluded.cost_nanos))

    SELECT hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer, requests, refused, failed,
           input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
           output_reasoning_tokens, input_audio_tokens, input_cache_read_audio_tokens, output_audio_tokens,
           input_image_tokens, input_cache_read_image_tokens, output_image_tokens, citation_tokens, searches,
           input_images, cost_nanos, adjusted_nanos, 0 AS corrected_nanos, NULL AS latency_ms
    FROM rows_usage_by_hour
    WHERE hour >= :from AND hour < :to

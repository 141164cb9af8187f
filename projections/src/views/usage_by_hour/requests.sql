    SELECT recorded_at / 3600000000 * 3600 AS hour, ifnull(partner_id, '') AS partner_id, ifnull(tenant_id, '') AS tenant_id,
           ifnull(user_id, '') AS user_id, ifnull(key_id, '') AS key_id, model, ifnull(provider, '') AS provider,
           ifnull(backend, '') AS backend, coalesce(payer, iif(backend IS NULL, '', 'brokered')) AS payer,
           1 AS requests, 0 AS refused, status = 'failed' AS failed,
           input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
           output_reasoning_tokens, input_audio_tokens, input_cache_read_audio_tokens, output_audio_tokens,
           input_image_tokens, input_cache_read_image_tokens, output_image_tokens, citation_tokens, searches,
           input_images, cost_nanos, 0 AS adjusted_nanos, corrected_nanos, latency_ms
    FROM (VALUES (:early_first, :early_end), (:late_first, :late_end)) AS edge
    CROSS JOIN rows_inferences ON position >= edge.column1 AND position < edge.column2
    WHERE status <> 'refused'

    SELECT recorded_at / 3600000000 * 3600 AS hour, ifnull(partner_id, '') AS partner_id, ifnull(tenant_id, '') AS tenant_id,
           ifnull(user_id, '') AS user_id, ifnull(key_id, '') AS key_id, model, provider, backend,
           payer, 0 AS requests, refused, 0 AS failed, 0 AS input_uncached_tokens, 0 AS input_cache_read_tokens,
           0 AS input_cache_write_tokens, 0 AS output_text_tokens, 0 AS output_reasoning_tokens,
           0 AS input_audio_tokens, 0 AS input_cache_read_audio_tokens, 0 AS output_audio_tokens,
           0 AS input_image_tokens, 0 AS input_cache_read_image_tokens,
           0 AS output_image_tokens, 0 AS citation_tokens, 0 AS searches, 0 AS input_images, cost_nanos,
           cost_nanos AS adjusted_nanos, 0 AS corrected_nanos, NULL AS latency_ms
    FROM (VALUES (:early_from, :early_to), (:late_from, :late_to)) AS edge
    CROSS JOIN rows_other_usage ON recorded_at >= edge.column1 AND recorded_at < edge.column2
    WHERE TRUE

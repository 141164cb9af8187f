SELECT hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer, requests, refused, failed,
       input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
       output_reasoning_tokens, input_audio_tokens, input_cache_read_audio_tokens, output_audio_tokens,
       input_image_tokens, input_cache_read_image_tokens, output_image_tokens, citation_tokens, searches,
       input_images, cost_nanos
FROM rows_usage_by_hour
ORDER BY hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer

SELECT request_id IS NOT NULL, position, request_id, recorded_at, status, partner_id, tenant_id, user_id, key_id, model,
       provider, backend, iif(backend IS NULL, NULL, coalesce(payer, 'brokered')), cost_nanos, corrected_nanos,
       input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens, output_reasoning_tokens,
       input_audio_tokens, input_cache_read_audio_tokens, output_audio_tokens, input_image_tokens,
       input_cache_read_image_tokens, output_image_tokens, citation_tokens, searches, input_images,
       latency_ms, hold_position, outcome_position, hold_end_position

INSERT INTO inferences (position, request_id, recorded_at, status, partner_id, tenant_id, user_id, key_id, model,
                        provider, backend, cost_nanos, corrected_nanos, input_uncached_tokens,
                        input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
                        output_reasoning_tokens, input_audio_tokens, input_cache_read_audio_tokens,
                        output_audio_tokens, input_image_tokens, input_cache_read_image_tokens, output_image_tokens,
                        citation_tokens, searches, input_images, latency_ms, hold_position, outcome_position,
                        hold_end_position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ifnull(?14, 0), ifnull(?15, 0), ifnull(?16, 0),
        ifnull(?17, 0), ifnull(?18, 0), ifnull(?19, 0), ifnull(?20, 0), ifnull(?21, 0), ifnull(?22, 0),
        ifnull(?23, 0), ifnull(?24, 0), ifnull(?25, 0), ifnull(?26, 0), ifnull(?27, 0), ?28, ?29, ?30, ?31)

INSERT INTO rows_inferences (position, request_id, recorded_at, status, partner_id, tenant_id, user_id, key_id, model,
                        provider, backend, cost_nanos, corrected_nanos, input_uncached_tokens, input_cache_read_tokens,
                        input_cache_write_tokens, output_text_tokens, output_reasoning_tokens, latency_ms,
                        hold_position, outcome_position, hold_end_position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ifnull(?14, 0), ifnull(?15, 0), ifnull(?16, 0),
        ifnull(?17, 0), ifnull(?18, 0), ?19, ?20, ?21, ?22)

       exact_sums(requests, refused, failed, input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens,
                  output_text_tokens, output_reasoning_tokens, cost_nanos, corrected_nanos)

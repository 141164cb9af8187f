       sum(requests), sum(refused), sum(failed), sum(input_uncached_tokens), sum(input_cache_read_tokens),
       sum(input_cache_write_tokens), sum(output_text_tokens), sum(output_reasoning_tokens), sum(cost_nanos)
FROM usage_by_hour

UPDATE rows_inferences SET
    status = coalesce(?2, status),
    provider = coalesce(?3, provider),
    backend = coalesce(?4, backend),
    cost_nanos = iif(?5 = 0, cost_nanos, exact_add(cost_nanos, ?5)),
    corrected_nanos = iif(?6 = 0, corrected_nanos, exact_add(corrected_nanos, ?6)),
    input_uncached_tokens = coalesce(?7, input_uncached_tokens),
    input_cache_read_tokens = coalesce(?8, input_cache_read_tokens),
    input_cache_write_tokens = coalesce(?9, input_cache_write_tokens),
    output_text_tokens = coalesce(?10, output_text_tokens),
    output_reasoning_tokens = coalesce(?11, output_reasoning_tokens),
    latency_ms = coalesce(?12, latency_ms),
    hold_position = coalesce(?13, hold_position),
    outcome_position = coalesce(?14, outcome_position),
    hold_end_position = coalesce(?15, hold_end_position)
WHERE request_id = ?1

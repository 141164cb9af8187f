UPDATE inferences SET
    status = coalesce(?2, status),
    provider = coalesce(?3, provider),
    backend = coalesce(?4, backend),
    cost_nanos = exact_add(cost_nanos, ?5),
    hold_position = coalesce(?6, hold_position),
    outcome_position = coalesce(?7, outcome_position),
    hold_end_position = coalesce(?8, hold_end_position)
WHERE request_id = ?1

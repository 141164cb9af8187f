UPDATE inferences SET
    status = coalesce(?2, status),
    provider = coalesce(?3, provider),
    backend = coalesce(?4, backend),
    cost_nanos = cost_nanos + ?5,
    hold_position = coalesce(?6, hold_position),
    hold = coalesce(?7, hold),
    outcome_position = coalesce(?8, outcome_position),
    outcome_at = coalesce(?9, outcome_at),
    outcome = coalesce(?10, outcome),
    hold_end_position = coalesce(?11, hold_end_position),
    hold_end_at = coalesce(?12, hold_end_at),
    hold_end_type = coalesce(?13, hold_end_type),
    hold_end = coalesce(?14, hold_end)
WHERE request_id = ?1

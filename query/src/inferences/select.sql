SELECT position, request_id, recorded_at, status, actor, partner_id, tenant_id, user_id, key_id, model, cost_nanos,
       admitted, hold_position, hold, outcome_position, outcome_at, outcome, hold_end_position, hold_end_at,
       hold_end_type, hold_end
FROM inferences

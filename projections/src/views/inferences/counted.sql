SELECT position, recorded_at, partner_id, tenant_id, user_id, key_id, model, provider, backend, status, cost_nanos,
       outcome_position

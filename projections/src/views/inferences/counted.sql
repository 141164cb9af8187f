SELECT position, recorded_at, partner_id, tenant_id, user_id, key_id, model, provider, backend,
       coalesce(payer, iif(backend IS NULL, NULL, 'brokered')), status, cost_nanos, outcome_position,
       corrected_nanos

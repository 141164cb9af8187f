SELECT true, position, recorded_at, partner_id, tenant_id, user_id, key_id, nullif(model, ''), nullif(provider, ''),
       nullif(backend, ''), nullif(payer, ''), refused, cost_nanos

INSERT INTO inferences (position, request_id, recorded_at, status, partner_id, tenant_id, user_id, key_id, model,
                        provider, backend, cost_nanos, hold_position, outcome_position, hold_end_position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)

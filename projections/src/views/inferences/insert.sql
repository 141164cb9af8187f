INSERT INTO inferences (position, request_id, recorded_at, status, actor, partner_id, tenant_id, user_id, key_id, model,
                        provider, backend, cost_nanos, admitted, hold_position, hold, outcome_position, outcome_at,
                        outcome, hold_end_position, hold_end_at, hold_end_type, hold_end)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)

INSERT INTO rows_audit (position, recorded_at, actor, action, resource, resource_id, category, severity, outcome, request_id,
                   partner_id, tenant_id, changes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)

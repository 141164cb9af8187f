SELECT position, recorded_at, actor, action, resource, category, severity, outcome, request_id, changes, partner_id, tenant_id

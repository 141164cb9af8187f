SELECT true, position, recorded_at, actor, action, resource, resource_id, category, severity, outcome, request_id,
       partner_id, tenant_id

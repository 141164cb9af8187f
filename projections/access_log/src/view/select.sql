SELECT id, answered_at, latency_us, request_id, method, route, status, code, actor, tenant_id

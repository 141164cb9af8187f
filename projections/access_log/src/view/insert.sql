INSERT INTO requests (answered_at, latency_us, request_id, method, route, status, code, actor, partner_id, tenant_id)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)

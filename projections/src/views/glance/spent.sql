SELECT tenant_id,
       (SELECT name FROM catalogue WHERE kind = 'tenant' AND id = tenant_id),
       sum(requests),
       sum(cost_nanos) AS cost
FROM usage_by_hour
WHERE hour >= ?1
GROUP BY tenant_id
ORDER BY cost DESC, tenant_id
LIMIT ?2

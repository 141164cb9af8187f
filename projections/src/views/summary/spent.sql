SELECT tenant_id,
       -- The catalogue has a tenant_id as well: without its table's name it would be that one.
       (SELECT name FROM catalogue WHERE kind = 'tenant' AND id = usage_by_hour.tenant_id),
       exact_sums(requests, cost_nanos)
FROM usage_by_hour
WHERE hour >= ?1
GROUP BY tenant_id

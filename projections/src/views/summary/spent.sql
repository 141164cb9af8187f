SELECT tenant_id,
       -- Qualified by the table: the catalogue has a tenant_id as well.
       (SELECT name FROM rows_catalogue WHERE kind = 'tenant' AND id = rows_usage_by_hour.tenant_id),
       exact_sums(requests, cost_nanos)
FROM rows_usage_by_hour
WHERE hour >= ?1
GROUP BY tenant_id

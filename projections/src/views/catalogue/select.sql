SELECT c.body, c.created_position, c.created_at, c.ended_at, p.id, p.ended_at, t.id, t.ended_at, u.id, u.ended_at,
       c.tenant_id, r.id, r.ended_at
FROM rows_catalogue AS c
LEFT JOIN rows_catalogue AS p ON p.kind = 'partner' AND p.id = c.partner_id AND p.ended_at IS NOT NULL
  AND c.kind IN ('tenant', 'user', 'team', 'key', 'provider', 'provider_key', 'model', 'audit_search')
LEFT JOIN rows_catalogue AS t ON t.kind = 'tenant' AND t.id = c.tenant_id AND t.ended_at IS NOT NULL
  AND c.kind IN ('user', 'team', 'key', 'provider', 'provider_key', 'model', 'audit_search')
LEFT JOIN rows_catalogue AS u ON u.kind = 'user' AND u.id = c.user_id AND u.ended_at IS NOT NULL
  AND c.kind = 'key'
LEFT JOIN rows_catalogue AS r ON r.kind = 'provider' AND r.id = c.body ->> '$.provider_id' AND r.ended_at IS NOT NULL
  AND c.kind = 'provider_key'

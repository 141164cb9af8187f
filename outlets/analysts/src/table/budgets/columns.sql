SELECT limit_nanos IS NOT NULL, budget_id,
       CASE WHEN body ->> '$.scope.partner_id' IS NOT NULL THEN 'partner'
            WHEN body ->> '$.scope.tenant_id' IS NOT NULL THEN 'tenant'
            WHEN body ->> '$.scope.team_id' IS NOT NULL THEN 'team'
            WHEN body ->> '$.scope.user_id' IS NOT NULL THEN 'user'
            ELSE 'key' END,
       coalesce(body ->> '$.scope.partner_id', body ->> '$.scope.tenant_id', body ->> '$.scope.team_id',
                body ->> '$.scope.user_id', body ->> '$.scope.key_id'),
       partner_id, tenant_id, limit_nanos, period, body -> '$.alert_at', body ->> '$.when_short',
       body ->> '$.enforcement', opened_at, closed_at, position

SELECT created_at IS NOT NULL, id, kind, partner_id, tenant_id, user_id, name, body ->> '$.slug',
       body ->> '$.external_id', created_at, ended_at, created_position, position

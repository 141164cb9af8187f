INSERT INTO rows_catalogue (kind, id, partner_id, tenant_id, user_id, name, body, created_position, created_at, ended_at,
                       position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, ?8)

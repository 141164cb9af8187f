UPDATE rows_catalogue SET partner_id = ?3, tenant_id = ?4, user_id = ?5, name = ?6, body = ?7, position = ?8
WHERE kind = ?1 AND id = ?2

WHERE c.kind = :kind AND c.created_position < :before
  AND (:include_ended OR coalesce(c.ended_at, p.ended_at, t.ended_at, u.ended_at, r.ended_at) IS NULL)
  AND (:visible_partner IS NULL OR c.partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR c.tenant_id = :visible_tenant)
  AND (:partner IS NULL OR c.partner_id = :partner)
  AND (:tenant IS NULL OR c.tenant_id = :tenant)
  AND (:user IS NULL OR c.user_id = :user)
  AND (:name IS NULL OR c.name = :name)
  AND (:provider IS NULL OR c.body ->> '$.provider_id' = :provider)
  AND (:slug IS NULL OR c.body ->> '$.slug' = :slug)
  AND (:external_id IS NULL OR c.body ->> '$.external_id' = :external_id)
ORDER BY c.created_position DESC
LIMIT :rows

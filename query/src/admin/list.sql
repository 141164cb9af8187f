SELECT body, created_position, created_at, ended_at
FROM catalogue
WHERE kind = :kind AND created_position < :before
  AND (:include_ended OR ended_at IS NULL)
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:partner IS NULL OR partner_id = :partner)
  AND (:tenant IS NULL OR tenant_id = :tenant)
  AND (:user IS NULL OR user_id = :user)
  AND (:name IS NULL OR name = :name)
ORDER BY created_position DESC
LIMIT :rows

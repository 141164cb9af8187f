  AND position >= :first AND position < :before
  AND (:visible_partner IS NULL OR partner_id = :visible_partner)
  AND (:visible_tenant IS NULL OR tenant_id = :visible_tenant)
  AND (:partner IS NULL OR partner_id = :partner)
  AND (:tenant IS NULL OR tenant_id = :tenant)
  AND (:user IS NULL OR user_id = :user)
  AND (:key IS NULL OR key_id = :key)
  AND (:model IS NULL OR model = :model)
  AND (:provider IS NULL OR provider = :provider)
  AND (:backend IS NULL OR backend = :backend)
  AND (:status IS NULL OR status = :status)
ORDER BY position DESC
LIMIT :rows

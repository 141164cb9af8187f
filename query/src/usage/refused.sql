SELECT iif(:by_partner, partner_id, NULL) AS by_partner,
       iif(:by_tenant, tenant_id, NULL) AS by_tenant,
       iif(:by_user, user_id, NULL) AS by_user,
       iif(:by_key, key_id, NULL) AS by_key,
       iif(:by_model, model, NULL) AS by_model,
       iif(:by_provider, provider, NULL) AS by_provider,
       iif(:by_backend, backend, NULL) AS by_backend,
       iif(:by_hour, strftime('%Y-%m-%dT%H:00:00.000000Z', hour, 'unixepoch'), NULL) AS by_hour,
       iif(:by_day, strftime('%Y-%m-%d', hour, 'unixepoch'), NULL) AS by_day,
       iif(:by_month, strftime('%Y-%m', hour, 'unixepoch'), NULL) AS by_month,
       sum(refused)
FROM usage_by_hour

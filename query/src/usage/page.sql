GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
HAVING :continues = 0 OR
       (coalesce(by_hour, ''), coalesce(by_day, ''), coalesce(by_month, ''), coalesce(by_partner, ''),
        coalesce(by_tenant, ''), coalesce(by_user, ''), coalesce(by_key, ''), coalesce(by_model, ''),
        coalesce(by_provider, ''), coalesce(by_backend, ''))
     > (:after_0, :after_1, :after_2, :after_3, :after_4, :after_5, :after_6, :after_7, :after_8, :after_9)
ORDER BY 8, 9, 10, 1, 2, 3, 4, 5, 6, 7
LIMIT :rows

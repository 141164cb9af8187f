GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
HAVING :continues = 0 OR
       (by_hour, by_day, by_week, by_month, by_partner, by_tenant, by_user, by_key, by_model, by_provider, by_backend,
        by_payer)
     > (:after_0, :after_1, :after_2, :after_3, :after_4, :after_5, :after_6, :after_7, :after_8, :after_9, :after_10,
        :after_11)
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
LIMIT :rows

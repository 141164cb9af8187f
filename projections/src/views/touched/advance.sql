UPDATE touched_views
SET until = (SELECT position FROM rows_projections WHERE name = view), since = max(since, ?1)

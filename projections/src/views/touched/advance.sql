UPDATE touched_views
SET until = (SELECT position FROM projections WHERE name = view), since = max(since, ?1)

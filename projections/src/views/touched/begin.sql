INSERT INTO touched_views (view, since, until)
SELECT name, position, position FROM rows_projections WHERE true
ON CONFLICT (view) DO UPDATE SET since = excluded.since, until = excluded.until

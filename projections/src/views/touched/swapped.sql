INSERT INTO touched_views (view, since, until, swaps)
SELECT name, position, position, 1 FROM rows_projections WHERE name = ?1
ON CONFLICT (view) DO UPDATE SET since = excluded.since, until = excluded.until, swaps = swaps + 1

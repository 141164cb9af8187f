-- A view whose changes are not all noted is left out.
SELECT p.name, p.version, p.position, p.recorded_at, f.id, t.swaps, t.since
FROM rows_projections AS p JOIN touched_views AS t ON t.view = p.name AND t.until = p.position, touched_file AS f

-- Whether every change of every view up to now was noted.
SELECT count(*) = (SELECT count(*) FROM rows_projections)
FROM rows_projections AS p JOIN touched_views AS t ON t.view = p.name AND t.until = p.position

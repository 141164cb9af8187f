INSERT OR REPLACE INTO main.rows_projections (name, version, position, recorded_at, error)
SELECT name, version, position, recorded_at, error FROM next.rows_projections WHERE name = ?1

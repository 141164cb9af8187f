INSERT OR REPLACE INTO main.projections (name, version, position, recorded_at, error)
SELECT name, version, position, recorded_at, error FROM next.projections WHERE name = ?1

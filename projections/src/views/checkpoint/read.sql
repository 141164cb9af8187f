SELECT version, position, recorded_at, error FROM projections WHERE name = ?1

INSERT INTO rows_projections (name, version, position, recorded_at, error) VALUES (?1, ?2, 0, 0, NULL)

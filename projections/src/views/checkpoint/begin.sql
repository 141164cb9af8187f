INSERT INTO projections (name, version, position, recorded_at, error) VALUES (?1, ?2, 0, 0, NULL)

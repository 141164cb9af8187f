INSERT INTO replay (position, recorded_at, as_of, version, made_at) VALUES (?1, ?2, ?3, ?4, ?5)

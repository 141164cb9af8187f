INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)

INSERT INTO inference_incidents (request_id, position, recorded_at, type, data) VALUES (?1, ?2, ?3, ?4, ?5)

INSERT INTO inference_incidents (request_id, position) VALUES (?1, ?2)

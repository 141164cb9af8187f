INSERT INTO rows_inference_incidents (request_id, position) VALUES (?1, ?2)

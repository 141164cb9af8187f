SELECT position FROM rows_inference_incidents WHERE request_id = ?1 ORDER BY position

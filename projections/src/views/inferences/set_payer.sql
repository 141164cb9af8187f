-- Of few requests: the statements for all of them leave it NULL.
UPDATE rows_inferences SET payer = ?2
WHERE request_id = ?1

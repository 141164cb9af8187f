-- Of few requests: the statement for all of them leaves it NULL.
UPDATE inferences SET shadow_of = ?2
WHERE request_id = ?1

DELETE FROM requests WHERE id <= (SELECT max(id) FROM requests) - ?1

SELECT id, answered_at FROM requests WHERE id >= ?1 ORDER BY id LIMIT 1

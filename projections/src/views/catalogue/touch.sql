UPDATE rows_catalogue SET position = ?3 WHERE kind = ?1 AND id = ?2

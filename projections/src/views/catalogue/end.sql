UPDATE rows_catalogue SET ended_at = ?3, position = ?4 WHERE kind = ?1 AND id = ?2

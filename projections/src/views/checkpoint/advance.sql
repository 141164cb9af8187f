UPDATE rows_projections SET position = ?2, recorded_at = ?3 WHERE name = ?1 AND error IS NULL AND position < ?2

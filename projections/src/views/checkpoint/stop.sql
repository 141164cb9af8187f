UPDATE rows_projections SET position = ?2, recorded_at = ?3, error = ?4 WHERE name = ?1

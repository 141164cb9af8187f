SELECT version, position, recorded_at, error FROM rows_projections WHERE name = ?1

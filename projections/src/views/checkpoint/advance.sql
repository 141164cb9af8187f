UPDATE projections SET position = ?1, recorded_at = ?2 WHERE error IS NULL AND position < ?1

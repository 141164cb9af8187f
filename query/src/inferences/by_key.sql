WHERE key_id = :key

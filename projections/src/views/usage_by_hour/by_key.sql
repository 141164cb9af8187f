      AND key_id = :key

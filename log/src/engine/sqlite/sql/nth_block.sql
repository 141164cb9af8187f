SELECT block FROM owner_blocks WHERE owner = ?1 AND block >= ?2 ORDER BY block LIMIT 1 OFFSET ?3

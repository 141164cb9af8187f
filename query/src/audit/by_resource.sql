WHERE resource_id = :resource_id

WHERE :resource_id IS NULL

SELECT created_at IS NOT NULL, id, body ->> '$.provider_id', name, body ->> '$.input_usd_per_mtok',
       body ->> '$.output_usd_per_mtok', body ->> '$.cache_read_usd_per_mtok', body ->> '$.cache_write_usd_per_mtok',
       body ->> '$.reasoning_usd_per_mtok', body ->> '$.request_usd', body ->> '$.effective_from', tenant_id, created_at,
       ended_at, position

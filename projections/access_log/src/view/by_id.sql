FROM (
    SELECT * FROM requests
    WHERE :request_id IS NULL AND id >= :first AND id < :before
    ORDER BY id DESC LIMIT :scan_max
)

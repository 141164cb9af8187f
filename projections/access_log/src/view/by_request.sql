FROM (
    SELECT * FROM requests
    WHERE request_id = :request_id AND id >= :first AND id < :before
    ORDER BY id DESC LIMIT :scan_max
)

INSERT INTO idempotency (scope, key, fingerprint, status, body, position, recorded_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)

-- Idempotency keys of inference: the request that was last admitted under a tenant's key. Written in the transaction of the
-- admission; the events of the hold tell the outcome.
CREATE TABLE IF NOT EXISTS inference_keys (
    tenant      TEXT    NOT NULL,                  -- a tenant's id
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,                  -- SHA-256 of all that the request says
    request_id  TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,                  -- microseconds since 1970-01-01 UTC
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS inference_keys_by_age ON inference_keys (recorded_at);

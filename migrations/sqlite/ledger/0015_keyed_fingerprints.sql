-- The fingerprint of a claim was a SHA-256 of the request, prompt included, which anybody could compare with a guess. Now it is an
-- HMAC-SHA256 under a key from the salt of the request's user. The claims stay for their thirty days, with zeros: whatever comes under
-- such a key counts as the request that claimed it. The same of administrative requests, which may name a person: a retry from before
-- is refused. The old tables are dropped as a whole, so that no moved copy of a row is left either.

-- Views of an operator on these tables keep their names, and so read the new ones.
PRAGMA legacy_alter_table = ON;
ALTER TABLE inference_keys RENAME TO unkeyed_inference_keys;
ALTER TABLE idempotency RENAME TO unkeyed_idempotency;
PRAGMA legacy_alter_table = OFF;

CREATE TABLE inference_keys (
    tenant      TEXT    NOT NULL,                  -- a tenant's id
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,                  -- HMAC of all that the request says; zeros of a claim of an earlier version
    request_id  TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,                  -- microseconds since 1970-01-01 UTC
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

INSERT INTO inference_keys (tenant, key, fingerprint, request_id, recorded_at)
SELECT tenant, key, zeroblob(32), request_id, recorded_at FROM unkeyed_inference_keys;

DROP TABLE unkeyed_inference_keys;
CREATE INDEX inference_keys_by_age ON inference_keys (recorded_at);

CREATE TABLE idempotency (
    scope       TEXT    NOT NULL,                  -- whose key it is: the actor
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,                  -- HMAC of method, path and body; zeros of an earlier version or after an erasure
    status      INTEGER NOT NULL,
    body        TEXT    NOT NULL,                  -- the reply without its secret
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

INSERT INTO idempotency (scope, key, fingerprint, status, body, position, recorded_at)
SELECT scope, key, zeroblob(32), status, body, position, recorded_at FROM unkeyed_idempotency;

DROP TABLE unkeyed_idempotency;
CREATE INDEX idempotency_by_age ON idempotency (recorded_at);

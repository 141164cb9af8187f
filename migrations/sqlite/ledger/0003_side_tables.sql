-- Data that must never be in an event, and the replies that retries get again.
CREATE TABLE IF NOT EXISTS idempotency (
    scope       TEXT    NOT NULL,                  -- whose key it is: the actor
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,                  -- SHA-256 of method, path and body
    status      INTEGER NOT NULL,
    body        TEXT    NOT NULL,                  -- the reply without its secret
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (recorded_at);

-- Names that must be unique within a scope.
CREATE TABLE IF NOT EXISTS names (
    kind  TEXT NOT NULL,
    scope TEXT NOT NULL,
    name  TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (kind, scope, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS names_by_owner ON names (owner);

CREATE TABLE IF NOT EXISTS personal_data (
    subject TEXT PRIMARY KEY,                      -- a user's id
    name    TEXT NOT NULL,
    email   TEXT,
    salt    BLOB NOT NULL                          -- of the digests in the events
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS client_addresses (
    request_id TEXT PRIMARY KEY,
    ip         TEXT NOT NULL,
    user_agent TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS key_secrets (
    key_id     TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    salt       BLOB    NOT NULL,
    hash       BLOB    NOT NULL,                   -- PBKDF2-HMAC-SHA256
    PRIMARY KEY (key_id, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS sealed_secrets (
    subject    TEXT    NOT NULL,                   -- a provider's id
    generation INTEGER NOT NULL,
    key_scope  TEXT    NOT NULL,                   -- whose wrapped key opens it
    sealed     BLOB    NOT NULL,
    PRIMARY KEY (subject, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS wrapped_keys (
    scope   TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL                          -- a data key under the node's key
) STRICT, WITHOUT ROWID;

-- The nodes that tenants' keys can be wrapped to: their public halves, and whom they serve.
CREATE TABLE IF NOT EXISTS nodes (
    node      TEXT PRIMARY KEY,                    -- the fingerprint of its key
    recipient TEXT NOT NULL,                       -- age1…
    serves    TEXT NOT NULL,                       -- all, or ids of tenants, separated by commas
    tag       BLOB NOT NULL                        -- HMAC under the check key: whoever can only write here adds no node
) STRICT, WITHOUT ROWID;

-- Tenants' keys, each wrapped to one node. A node without a row for a tenant cannot open what is sealed under its key.
CREATE TABLE IF NOT EXISTS tenant_keys (
    tenant  TEXT NOT NULL,
    node    TEXT NOT NULL,
    wrapped BLOB NOT NULL,                         -- an age file and its HMAC
    PRIMARY KEY (tenant, node)
) STRICT, WITHOUT ROWID;

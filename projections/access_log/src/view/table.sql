CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    answered_at INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    route TEXT,
    status INTEGER NOT NULL,
    code TEXT,
    actor TEXT,
    partner_id TEXT,
    tenant_id TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS requests_by_request ON requests (request_id);
CREATE INDEX IF NOT EXISTS requests_by_tenant ON requests (tenant_id);

-- Who did what to which resource, who was refused, and who read what. resource: kind/id. recorded_at: RFC 3339, UTC, microseconds.
CREATE TABLE rows_audit (
    position    INTEGER NOT NULL PRIMARY KEY,
    recorded_at TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    resource_id TEXT    NOT NULL,
    category    TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    request_id  TEXT,
    partner_id  TEXT,
    tenant_id   TEXT,
    changes     TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_resource ON rows_audit (resource_id, position);
CREATE INDEX audit_by_tenant ON rows_audit (tenant_id, position);

-- One request a row, at the position of its first event. Payloads are the events' own data, as JSON.
-- status: admitted, completed, failed, aborted or refused. Times in microseconds since 1970, money in nano-dollars.
CREATE TABLE inferences (
    position    INTEGER NOT NULL PRIMARY KEY,
    request_id  TEXT    NOT NULL UNIQUE,
    recorded_at INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    partner_id  TEXT,
    tenant_id   TEXT,
    user_id     TEXT,
    key_id      TEXT,
    model       TEXT    NOT NULL,
    provider    TEXT,
    backend     TEXT,
    cost_nanos  INTEGER NOT NULL,
    admitted    TEXT    NOT NULL,
    hold_position    INTEGER,
    hold             TEXT,
    outcome_position INTEGER,
    outcome_at       INTEGER,
    outcome          TEXT,
    hold_end_position INTEGER,
    hold_end_at       INTEGER,
    hold_end_type     TEXT,
    hold_end          TEXT
) STRICT;

CREATE INDEX inferences_by_tenant ON inferences (tenant_id, position);
CREATE INDEX inferences_by_partner ON inferences (partner_id, position);

-- What does not happen to every request: failed attempts and corrections of its charge.
CREATE TABLE inference_incidents (
    request_id  TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    data        TEXT    NOT NULL,
    PRIMARY KEY (request_id, position)
) STRICT, WITHOUT ROWID;

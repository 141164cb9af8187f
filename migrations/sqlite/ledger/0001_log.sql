-- The log: one ordered history of events. A superset of the table of `sqlite-es`, whose readers can read it.
CREATE TABLE IF NOT EXISTS events (
    position       INTEGER PRIMARY KEY,            -- 1, 2, 3 … without a gap, in commit order
    recorded_at    INTEGER NOT NULL,               -- microseconds since 1970-01-01 UTC; never goes back
    aggregate_type TEXT    NOT NULL,
    aggregate_id   TEXT    NOT NULL,
    sequence       INTEGER NOT NULL,
    event_type     TEXT    NOT NULL,               -- without its version
    event_version  TEXT    NOT NULL,
    payload        TEXT    NOT NULL,               -- JSON: `data` of the envelope
    metadata       TEXT    NOT NULL,               -- JSON: actor, partner, tenant, user, key and request ids
    tenant_id      TEXT GENERATED ALWAYS AS (metadata ->> '$.tenant_id') VIRTUAL,
    -- The id first: both streams of a request then stand on one page, which is one page less in every commit.
    UNIQUE (aggregate_id, aggregate_type, sequence)
) STRICT;

CREATE INDEX IF NOT EXISTS events_by_tenant ON events (tenant_id, position) WHERE tenant_id IS NOT NULL;

-- The few events that the in-memory tables are folded from at every start.
CREATE INDEX IF NOT EXISTS events_of_administration ON events (position)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access';

CREATE TRIGGER IF NOT EXISTS events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;

CREATE TRIGGER IF NOT EXISTS events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;

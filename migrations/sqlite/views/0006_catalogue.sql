-- Every resource of administration as its last event left it. body: `id` and the fields of its creation as
-- JSON; a user's name and e-mail are not in it. Times in microseconds since 1970.
CREATE TABLE rows_catalogue (
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    partner_id TEXT,
    tenant_id  TEXT,
    user_id    TEXT,
    name       TEXT,
    body       TEXT    NOT NULL,
    created_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    position   INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX catalogue_by_age ON rows_catalogue (kind, created_position);

-- Which rows of the views changed, for the copy that analysts read. Kept in the views' file, so that a row and the note that it
-- changed are one transaction; created only while a copy is made of this file.
-- touched_file: names the file. touched_views: from which position on (`since`) up to which one (`until`) every change of a view
-- was noted, and how often a rebuild replaced its rows.
-- touched_…: the keys of the rows that the batch up to position `at` changed or deleted. Views that only append rows need none.
CREATE TABLE IF NOT EXISTS touched_file (id TEXT NOT NULL) STRICT;

INSERT INTO touched_file (id) SELECT lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT * FROM touched_file);

CREATE TABLE IF NOT EXISTS touched_views (
    view  TEXT    NOT NULL PRIMARY KEY,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    swaps INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS touched_budgets (
    at        INTEGER NOT NULL,
    budget_id TEXT    NOT NULL,
    PRIMARY KEY (at, budget_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS touched_budget_windows (
    at           INTEGER NOT NULL,
    budget_id    TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    PRIMARY KEY (at, budget_id, window_start)
) STRICT, WITHOUT ROWID;

-- Of `usage_by_hour` and of `usage_latency`, which have the same keys.
CREATE TABLE IF NOT EXISTS touched_usage (
    at         INTEGER NOT NULL,
    hour       INTEGER NOT NULL,
    partner_id TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    payer      TEXT    NOT NULL,
    PRIMARY KEY (at, hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS touched_inferences (
    at       INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (at, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS touched_catalogue (
    at   INTEGER NOT NULL,
    kind TEXT    NOT NULL,
    id   TEXT    NOT NULL,
    PRIMARY KEY (at, kind, id)
) STRICT, WITHOUT ROWID;

-- The ledger's state as of a position: the fold of the events up to it. The writer keeps the state of the head in memory
-- and updates these rows every few thousand events and when it is idle; a start folds the later events.
-- In the same database as the log, because no decision about money may depend on a view.
CREATE TABLE IF NOT EXISTS balances (
    budget_id    TEXT    NOT NULL,
    window_start INTEGER NOT NULL,                 -- microseconds since 1970-01-01 UTC; -1 for the period `total`
    limit_nanos  INTEGER,                          -- in force when the row was written; null once the budget is closed
    settled      INTEGER NOT NULL,                 -- nano-dollars
    held         INTEGER NOT NULL,                 -- nano-dollars
    position     INTEGER NOT NULL,                 -- as of which the row was written
    PRIMARY KEY (budget_id, window_start)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS open_holds (
    request_id TEXT    PRIMARY KEY,
    held       INTEGER NOT NULL,                   -- nano-dollars
    expires_at INTEGER NOT NULL,                   -- microseconds since 1970-01-01 UTC
    hold       TEXT    NOT NULL                    -- JSON: windows, admission, model, who
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS ledger_checkpoint (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    position INTEGER NOT NULL                      -- as of which `balances` and `open_holds` stand
) STRICT;

INSERT OR IGNORE INTO ledger_checkpoint (only_row, position) VALUES (1, 0);

-- The position of each view. A checkpoint moves in the transaction that writes the rows.
-- recorded_at: microseconds since 1970 of the event at `position`; 0 at position 0.
-- error: why the view has stopped; NULL while it follows the log.
CREATE TABLE rows_projections (
    name        TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    error       TEXT
) STRICT, WITHOUT ROWID;

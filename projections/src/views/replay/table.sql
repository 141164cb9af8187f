-- What this file is: the views as of one position of a log. It has one row. Times are RFC 3339 in UTC.
-- recorded_at: of the event at `position`; NULL at position 0, before the first event.
-- as_of: what was asked for, a position or a time.
-- version: of the program that made the file.
CREATE TABLE replay (
    position    INTEGER NOT NULL PRIMARY KEY,
    recorded_at TEXT,
    as_of       TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    made_at     TEXT    NOT NULL
) STRICT;

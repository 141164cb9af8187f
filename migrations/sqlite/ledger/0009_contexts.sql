-- The contexts of the events of requests, each stored once: actor, partner, tenant, user and key ids as JSON, three hundred
-- bytes that were a third of the log. `events.metadata` is then the number of a row here, and the request is the event's
-- stream. Events of administration, and those from before this table, have their whole context in `metadata`.
CREATE TABLE contexts (
    number  INTEGER PRIMARY KEY,
    context TEXT NOT NULL UNIQUE
) STRICT;

CREATE TRIGGER contexts_are_never_changed BEFORE UPDATE ON contexts
BEGIN SELECT RAISE(ABORT, 'contexts are never changed'); END;

CREATE TRIGGER contexts_are_never_deleted BEFORE DELETE ON contexts
BEGIN SELECT RAISE(ABORT, 'contexts are never deleted'); END;

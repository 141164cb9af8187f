-- The fractions of a budget's limit that were announced in a window: `0.5,0.8`. The events have them as well; with these
-- rows, a start need not read all events.
ALTER TABLE balances ADD COLUMN announced TEXT NOT NULL DEFAULT '';

-- A start folds nothing from alerts, of which there can be many.
DROP INDEX IF EXISTS events_of_administration;
DROP INDEX IF EXISTS events_by_type_of_stream;

CREATE INDEX events_of_administration ON events (position)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

-- The last event of each type on a stream of administration: the state of a resource follows from these, however often it
-- was changed.
CREATE INDEX events_by_type_of_stream ON events (aggregate_id, aggregate_type, event_type, sequence)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

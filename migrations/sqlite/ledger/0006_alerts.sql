-- Which fractions of a budget's limit were announced in a window: `0.5,0.8`. The events say it as well; a start that has
-- the rows does not read them all.
ALTER TABLE balances ADD COLUMN announced TEXT NOT NULL DEFAULT '';

-- Alerts can be many over the years, and nothing is folded from them at a start.
DROP INDEX IF EXISTS events_of_administration;
DROP INDEX IF EXISTS events_by_type_of_stream;

CREATE INDEX events_of_administration ON events (position)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

-- The last event of a type on a stream of administration: a resource is what its last few events say, however often it
-- was changed before.
CREATE INDEX events_by_type_of_stream ON events (aggregate_id, aggregate_type, event_type, sequence)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

-- The last event of a type on a stream of administration: a resource is what its last few events say, however often it
-- was changed before.
CREATE INDEX IF NOT EXISTS events_by_type_of_stream ON events (aggregate_id, aggregate_type, event_type, sequence)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access';

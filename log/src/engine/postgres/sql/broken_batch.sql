-- The first batch that does not begin right after the one before it, or that ends at no event of its time; or else the events
-- after the last batch.
SELECT coalesce(
    (SELECT format('the batch that begins at %s follows one that ends at %s', first, before)
     FROM (SELECT first, lag(last) OVER (ORDER BY first) AS before FROM ledger.batches) AS neighbours
     WHERE first <> before + 1
     ORDER BY first LIMIT 1),
    (SELECT format('the batch that ends at %s has another time than its last event', last)
     FROM ledger.batches LEFT JOIN ledger.events ON position = last
     WHERE last > 0 AND events.recorded_at IS DISTINCT FROM batches.recorded_at
     ORDER BY last LIMIT 1),
    (SELECT format('the event at %s is in no batch', max(position))
     FROM ledger.events
     HAVING max(position) > (SELECT max(last) FROM ledger.batches))
)

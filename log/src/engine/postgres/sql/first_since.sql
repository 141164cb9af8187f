-- The first position at which an event was recorded at a time or later, or the one after the last: a binary search, because
-- times never go back. No row if a position is missing.
WITH RECURSIVE search (low, high) AS (
    SELECT 1::bigint, $2::bigint + 1
    UNION ALL
    SELECT CASE WHEN recorded_at < $1 THEN middle + 1 ELSE low END,
           CASE WHEN recorded_at < $1 THEN high ELSE middle END
    FROM (SELECT low, high, low + (high - low) / 2 AS middle FROM search WHERE low < high) AS half
        JOIN ledger.events ON position = middle
)
SELECT low FROM search WHERE low = high

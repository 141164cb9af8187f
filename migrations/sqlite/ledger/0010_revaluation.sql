-- The last position of the log when it was first opened by a version that re-values requests by prices that are corrected.
-- Changes of prices up to it concerned the requests after them alone: their versions promised that, and so it stays.
CREATE TABLE IF NOT EXISTS revaluation_begins (
    after INTEGER NOT NULL
) STRICT;

INSERT INTO revaluation_begins (after)
SELECT (SELECT coalesce(max(position), 0) FROM events)
WHERE NOT EXISTS (SELECT 1 FROM revaluation_begins);

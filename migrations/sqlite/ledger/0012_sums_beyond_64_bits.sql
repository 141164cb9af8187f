-- The sums of a window have up to 127 bits, so that no charge is too large to be counted: an INTEGER if it fits, otherwise its
-- decimal digits as TEXT.
CREATE TABLE exact_balances (
    budget_id    TEXT    NOT NULL,
    window_start INTEGER NOT NULL,                 -- microseconds since 1970-01-01 UTC; -1 for the period `total`
    limit_nanos  INTEGER,                          -- in force when the row was written; null once the budget is closed
    settled      ANY     NOT NULL,                 -- nano-dollars
    held         ANY     NOT NULL,                 -- nano-dollars
    position     INTEGER NOT NULL,                 -- as of which the row was written
    announced    TEXT    NOT NULL DEFAULT '',      -- fractions of the limit: `0.5,0.8`
    PRIMARY KEY (budget_id, window_start)
) STRICT, WITHOUT ROWID;

INSERT INTO exact_balances (budget_id, window_start, limit_nanos, settled, held, position, announced)
SELECT budget_id, window_start, limit_nanos, settled, held, position, announced FROM balances;

DROP TABLE balances;
ALTER TABLE exact_balances RENAME TO balances;

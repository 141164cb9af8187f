-- Budgets as their last event left them. Money in nano-dollars, times in microseconds since 1970.
CREATE TABLE rows_budgets (
    budget_id   TEXT    NOT NULL PRIMARY KEY,
    partner_id  TEXT,
    tenant_id   TEXT,
    limit_nanos INTEGER NOT NULL,
    period      TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    opened_position INTEGER NOT NULL,
    opened_at   INTEGER NOT NULL,
    closed_at   INTEGER,
    position    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX budgets_by_age ON rows_budgets (opened_position);

-- The charges of a budget in one window, and the money in its open holds. Every window that a hold ever named has a row.
-- window_start: microseconds since 1970; 0 for the period `total`. ANY: a number that may outgrow an INTEGER, and is then
-- its decimal digits, see `views/exact.rs`. own_nanos: what tenants' own providers cost, which is not spent from a budget above them.
CREATE TABLE rows_budget_windows (
    budget_id     TEXT    NOT NULL,
    window_start  INTEGER NOT NULL,
    settled_nanos ANY     NOT NULL,
    held_nanos    ANY     NOT NULL,
    own_nanos     ANY     NOT NULL,
    PRIMARY KEY (budget_id, window_start)
) STRICT, WITHOUT ROWID;

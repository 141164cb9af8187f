-- False for a process that does other work than serving requests.
ALTER TABLE ledger.running_nodes ADD COLUMN serves_requests boolean NOT NULL DEFAULT true;

-- Which process does what one process at a time does for all, and what it remembers. Nothing here is needed to be right about
-- order or money.
CREATE TABLE ledger.leases (
    role       text   COLLATE "C" PRIMARY KEY,
    node       text   COLLATE "C" NOT NULL, -- as in ledger.running_nodes
    token      bigint NOT NULL,             -- rises whenever another node takes the role
    held_until bigint NOT NULL,             -- microseconds since 1970-01-01 UTC, by the database's clock; 0: given up
    position   bigint,                      -- what the role remembers of the log; null: nothing yet
    detail     text   NOT NULL DEFAULT ''   -- what else it remembers
);

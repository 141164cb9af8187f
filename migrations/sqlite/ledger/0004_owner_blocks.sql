-- The blocks of 64 positions that have events of a tenant or a partner. Written with the ledger's state, so as of
-- `ledger_checkpoint`; readers scan the later events. An index with one entry per event cost every commit a page for each
-- tenant in it.
CREATE TABLE IF NOT EXISTS owner_blocks (
    owner TEXT    NOT NULL,                        -- a tenant's or a partner's id
    block INTEGER NOT NULL,                        -- position / 64
    PRIMARY KEY (owner, block)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO owner_blocks (owner, block)
SELECT tenant_id, position / 64 FROM events
WHERE tenant_id IS NOT NULL AND position <= (SELECT position FROM ledger_checkpoint);

INSERT OR IGNORE INTO owner_blocks (owner, block)
SELECT metadata ->> '$.partner_id', position / 64 FROM events
WHERE metadata ->> '$.partner_id' IS NOT NULL AND position <= (SELECT position FROM ledger_checkpoint);

DROP INDEX IF EXISTS events_by_tenant;

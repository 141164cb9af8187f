-- The ledger in a database that several nodes share. The schema's name is fixed; everything here belongs to its owner.
--
-- Texts in keys and indexes are ordered by their bytes: the check of a ledger expects that order whatever the database's
-- locale, and an upgrade of the operating system's collations cannot damage such an index.
CREATE SCHEMA ledger;

-- One row: which versions of the program can use this schema.
CREATE TABLE ledger.schema_version (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version       bigint NOT NULL,
    oldest_reader bigint NOT NULL                  -- the oldest schema version whose programs can still use this one
);

-- The gate: one row per batch, inserted in the statement of its events, and never changed. A batch is inserted only if the
-- batch before it is there with the expected token, so that positions have no gap and follow the order of the commits. An
-- insert leaves no dead row behind; a row that every append updated would become slower with every session that idles in a
-- transaction.
CREATE TABLE ledger.batches (
    first         bigint  PRIMARY KEY,             -- position of the first event; 0 for the row that all begin after
    last          bigint  NOT NULL,
    recorded_at   bigint  NOT NULL,                -- microseconds since 1970-01-01 UTC; never goes back
    node          text    NOT NULL,                -- which process appended it
    token         uuid    NOT NULL,                -- drawn by that process: it finds its own batch by it
    is_checkpoint boolean NOT NULL,                -- the ledger's state was written with it
    CHECK (last >= first)
);

-- The log: one ordered history of events.
CREATE TABLE ledger.events (
    position       bigint PRIMARY KEY,             -- 1, 2, 3 … without a gap, in commit order
    recorded_at    bigint NOT NULL,                -- microseconds since 1970-01-01 UTC; never goes back
    aggregate_type text   COLLATE "C" NOT NULL,
    aggregate_id   text   COLLATE "C" NOT NULL,
    sequence       bigint NOT NULL,
    event_type     text   COLLATE "C" NOT NULL,    -- without its version
    event_version  text   NOT NULL,
    payload        text   NOT NULL,                -- JSON: `data` of the envelope
    metadata       text,                           -- JSON: actor, partner, tenant, user, key and request ids
    context        uuid,                           -- or the context of an event of a request, without the request
    UNIQUE (aggregate_id, aggregate_type, sequence),
    CHECK (num_nonnulls(metadata, context) = 1)
);

-- The few events that the in-memory tables are folded from at every start.
CREATE INDEX events_of_administration ON ledger.events (position)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

-- The last event of each type on a stream of administration: the state of a resource follows from these.
CREATE INDEX events_by_type_of_stream ON ledger.events (aggregate_id, aggregate_type, event_type, sequence)
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert';

-- The contexts of the events of requests, each stored once. Its name is the first 128 bits of its SHA-256, so that every
-- node gives it the same one without asking.
CREATE TABLE ledger.contexts (
    id      uuid PRIMARY KEY,
    context text NOT NULL
);

-- The ledger's state as of a position: the fold of the events up to it. Written with a batch every few thousand events.
CREATE TABLE ledger.balances (
    budget_id    text    COLLATE "C" NOT NULL,
    window_start bigint  NOT NULL,                 -- microseconds since 1970-01-01 UTC; -1 for the period `total`
    limit_nanos  bigint,                           -- in force when the row was written; null once the budget is closed
    settled      numeric NOT NULL,                 -- nano-dollars, up to 127 bits
    held         numeric NOT NULL,                 -- nano-dollars, up to 127 bits
    announced    text    NOT NULL DEFAULT '',      -- fractions of the limit: `0.5,0.8`
    position     bigint  NOT NULL,                 -- as of which the row was written
    PRIMARY KEY (budget_id, window_start)
);

CREATE TABLE ledger.open_holds (
    request_id text   COLLATE "C" PRIMARY KEY,
    held       bigint NOT NULL,                    -- nano-dollars
    expires_at bigint NOT NULL,                    -- microseconds since 1970-01-01 UTC
    hold       text   NOT NULL                     -- JSON: windows, admission, model, who
);

CREATE TABLE ledger.ledger_checkpoint (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL                       -- as of which `balances`, `open_holds` and `owner_blocks` stand
);

-- The blocks of 64 positions that have events of a tenant or a partner.
CREATE TABLE ledger.owner_blocks (
    owner text   COLLATE "C" NOT NULL,
    block bigint NOT NULL,                         -- position / 64
    PRIMARY KEY (owner, block)
);

-- Data that must never be in an event, and the replies that retries get again.
CREATE TABLE ledger.idempotency (
    scope       text    COLLATE "C" NOT NULL,      -- whose key it is: the actor
    key         text    COLLATE "C" NOT NULL,
    fingerprint bytea   NOT NULL,                  -- SHA-256 of method, path and body
    status      integer NOT NULL,
    body        text    NOT NULL,                  -- the reply without its secret
    position    bigint  NOT NULL,
    recorded_at bigint  NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_by_age ON ledger.idempotency (recorded_at);

CREATE TABLE ledger.inference_keys (
    tenant      text   COLLATE "C" NOT NULL,
    key         text   COLLATE "C" NOT NULL,
    fingerprint bytea  NOT NULL,                   -- SHA-256 of all that the request says
    request_id  text   NOT NULL,
    recorded_at bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX inference_keys_by_age ON ledger.inference_keys (recorded_at);

-- Names that must be unique within a scope.
CREATE TABLE ledger.names (
    kind  text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    name  text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, scope, name)
);
CREATE INDEX names_by_owner ON ledger.names (owner);

CREATE TABLE ledger.personal_data (
    subject text  COLLATE "C" PRIMARY KEY,         -- a user's id
    name    text  NOT NULL,
    email   text,
    salt    bytea NOT NULL                         -- of the digests in the events
);

CREATE TABLE ledger.client_addresses (
    request_id text COLLATE "C" PRIMARY KEY,
    ip         text NOT NULL,
    user_agent text
);

CREATE TABLE ledger.key_secrets (
    key_id     text   COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    salt       bytea  NOT NULL,
    hash       bytea  NOT NULL,                    -- PBKDF2-HMAC-SHA256
    PRIMARY KEY (key_id, generation)
);

CREATE TABLE ledger.sealed_secrets (
    subject    text   COLLATE "C" NOT NULL,        -- a provider's id
    generation bigint NOT NULL,
    key_scope  text   NOT NULL,                    -- whose wrapped key opens it
    sealed     bytea  NOT NULL,
    PRIMARY KEY (subject, generation)
);

CREATE TABLE ledger.wrapped_keys (
    scope   text  COLLATE "C" PRIMARY KEY,
    wrapped bytea NOT NULL                         -- a data key under the node's key
);

-- The nodes that tenants' keys can be wrapped to: their public halves, and whom they serve.
CREATE TABLE ledger.nodes (
    node      text  COLLATE "C" PRIMARY KEY,       -- the fingerprint of its key
    recipient text  NOT NULL,                      -- age1…
    serves    text  NOT NULL,                      -- all, or ids of tenants, separated by commas
    tag       bytea NOT NULL                       -- HMAC under the check key: whoever can only write here adds no node
);

-- Tenants' keys, each wrapped to one node.
CREATE TABLE ledger.tenant_keys (
    tenant  text  COLLATE "C" NOT NULL,
    node    text  COLLATE "C" NOT NULL,
    wrapped bytea NOT NULL,                        -- an age file and its HMAC
    PRIMARY KEY (tenant, node)
);

-- The catalogue that was imported last, on whichever node: what an embedded ledger has in its data folder.
CREATE TABLE ledger.catalogue (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL,                      -- another one after each import
    document text   NOT NULL                       -- JSON, as it was sent
);

-- The processes that use the ledger. One that was not seen for ten seconds is gone.
CREATE TABLE ledger.running_nodes (
    node           text   COLLATE "C" PRIMARY KEY, -- as in the rows of its batches
    started_at     bigint NOT NULL,                -- microseconds since 1970-01-01 UTC, by the database's clock
    seen_at        bigint NOT NULL,                -- the same
    events_read    bigint NOT NULL,                -- the newest event set that it can read
    events_written bigint NOT NULL,                -- the newest event set that it may write from
    address        text   NOT NULL,                -- from which it is connected
    can_append     boolean NOT NULL DEFAULT true   -- as it knew when it was last seen
);

-- The position after which changes of prices also concern the requests before them.
CREATE TABLE ledger.revaluation_begins (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    after    bigint NOT NULL
);

-- The resources as the aggregates of `cqrs-es` load them: the last event of each type on each stream of administration. For
-- reading alone; the gateway itself reads the events.
CREATE VIEW ledger.aggregate_events AS
    SELECT DISTINCT ON (aggregate_id, aggregate_type, event_type)
           aggregate_type, aggregate_id, sequence, event_type, event_version,
           json_build_array(event_type, event_version::integer, payload) AS payload,
           json_build_object('position', position::text, 'recorded_at', recorded_at::text, 'context', metadata) AS metadata
    FROM ledger.events
    WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
      AND aggregate_type <> 'alert'
    ORDER BY aggregate_id, aggregate_type, event_type, sequence DESC;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are never changed or deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- Until the end of the transaction. Only who may change the rows of a table can lock it against inserts, and gateways cannot.
CREATE FUNCTION ledger.keep_others_from_appending() RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ledger.batches IN SHARE ROW EXCLUSIVE MODE;
END $$;
REVOKE ALL ON FUNCTION ledger.keep_others_from_appending() FROM PUBLIC;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER batches_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.batches
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER contexts_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.contexts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- The batch before the first. Its token names this ledger: another database has another one.
INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
    VALUES (0, 0, 0, 'genesis', gen_random_uuid(), true);
INSERT INTO ledger.ledger_checkpoint (position) VALUES (0);
INSERT INTO ledger.revaluation_begins (after) VALUES (0);

-- The fingerprint of a claim was a SHA-256 of the request, prompt included, which anybody could compare with a guess. Now it is an
-- HMAC-SHA256 under a key from the salt of the request's user. The claims stay for their thirty days, with zeros: whatever comes under
-- such a key counts as the request that claimed it. The change of the type rewrites the table, so that no dead row is left either.
ALTER TABLE ledger.inference_keys ALTER COLUMN fingerprint TYPE bytea USING decode(repeat('00', 32), 'hex');
-- The same of administrative requests, which may name a person. A retry from before is refused.
ALTER TABLE ledger.idempotency ALTER COLUMN fingerprint TYPE bytea USING decode(repeat('00', 32), 'hex');

-- The tables whose dead rows must leave their files: a row that was deleted or changed stays in its file until PostgreSQL uses the
-- place again, which may be never.
CREATE TABLE ledger.rows_to_drop (
    table_name   text        COLLATE "C" PRIMARY KEY,
    deleted_by   xid8,                             -- the last transaction that left dead rows; null if none are left
    rewritten_at timestamptz NOT NULL DEFAULT '-infinity'
);
-- What an earlier version left is dropped with the rest. Of `idempotency`, everything was written anew above.
INSERT INTO ledger.rows_to_drop (table_name, deleted_by)
    SELECT name, CASE WHEN pg_relation_size('ledger.' || name) > 0 THEN pg_current_xact_id() END
    FROM unnest(ARRAY['personal_data', 'client_addresses', 'sealed_secrets', 'tenant_keys', 'wrapped_keys']) AS name
    UNION ALL VALUES ('idempotency', NULL::xid8);

CREATE OR REPLACE FUNCTION ledger.note_dead_row() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE ledger.rows_to_drop SET deleted_by = pg_current_xact_id()
    WHERE table_name = TG_TABLE_NAME AND deleted_by IS DISTINCT FROM pg_current_xact_id();
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION ledger.note_dead_row() FROM PUBLIC;
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE OR DELETE ON ledger.personal_data
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE OR DELETE ON ledger.client_addresses
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE OR DELETE ON ledger.sealed_secrets
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE OR DELETE ON ledger.tenant_keys
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE OR DELETE ON ledger.wrapped_keys
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();
-- Replies are deleted when they expire, which erases nobody. An erasure overwrites the fingerprint.
CREATE OR REPLACE TRIGGER notes_dead_rows AFTER UPDATE ON ledger.idempotency
    FOR EACH ROW EXECUTE FUNCTION ledger.note_dead_row();

-- Writes a table anew without the dead rows that transactions up to `deleted_until` left. Only the owner of a table can; gateways may
-- ask for it. Appends wait meanwhile. So a table is written at most once a minute, whichever node asks, and not if it is large; and
-- nobody waits for whoever reads the table, because everybody else would wait behind it. Returns `done`; `later` if there is nothing
-- to do or too early; `seen` if somebody may still see the rows; or `too large` if the rows stay until the table is written anew by hand.
CREATE OR REPLACE FUNCTION ledger.drop_dead_rows(of_table text, deleted_until xid8) RETURNS text LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    written oid;
    outcome text := 'done';
BEGIN
    -- The lock of migrations (`LEDG`, `MIGR`): each of them grants rights on these tables, which fails beside this.
    PERFORM pg_advisory_xact_lock(x'4c454447'::int, x'4d494752'::int);
    SELECT format('ledger.%I', marked.table_name)::regclass INTO written FROM ledger.rows_to_drop AS marked
    WHERE marked.table_name = of_table AND marked.deleted_by IS NOT NULL
      AND marked.rewritten_at < clock_timestamp() - interval '1 minute'
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'later';
    END IF;

    -- The second is null for an owner without the rights of pg_read_all_stats.
    IF EXISTS (SELECT FROM (SELECT xmin FROM pg_replication_slots UNION ALL SELECT backend_xmin FROM pg_stat_replication)
                           AS standbys (horizon)
               WHERE age(horizon) >= age(deleted_until::xid)) THEN
        RETURN 'seen';
    END IF;

    IF pg_table_size(written) > 16 * 1024 * 1024 THEN
        outcome := 'too large';
    ELSE
        BEGIN
            CASE of_table
                WHEN 'personal_data' THEN CLUSTER ledger.personal_data USING personal_data_pkey;
                WHEN 'client_addresses' THEN CLUSTER ledger.client_addresses USING client_addresses_pkey;
                WHEN 'sealed_secrets' THEN CLUSTER ledger.sealed_secrets USING sealed_secrets_pkey;
                WHEN 'tenant_keys' THEN CLUSTER ledger.tenant_keys USING tenant_keys_pkey;
                WHEN 'wrapped_keys' THEN CLUSTER ledger.wrapped_keys USING wrapped_keys_pkey;
                WHEN 'idempotency' THEN CLUSTER ledger.idempotency USING idempotency_pkey;
            END CASE;
            -- The new index also counts the rows that are dead and may still be seen, as by a standby, and the table does not.
            IF (SELECT max(entries.reltuples) > max(rows.reltuples)
                FROM pg_class AS rows JOIN pg_index ON indrelid = rows.oid JOIN pg_class AS entries ON entries.oid = indexrelid
                WHERE rows.oid = written AND indisprimary) THEN
                outcome := 'seen';
            END IF;
        EXCEPTION WHEN query_canceled THEN
            -- A statement's time is over.
            outcome := 'too large';
        END;
    END IF;

    UPDATE ledger.rows_to_drop
    SET rewritten_at = clock_timestamp(),
        deleted_by = CASE WHEN outcome = 'seen' THEN deleted_by ELSE nullif(deleted_by, deleted_until) END
    WHERE table_name = of_table;
    RETURN outcome;
END $$;
REVOKE ALL ON FUNCTION ledger.drop_dead_rows(text, xid8) FROM PUBLIC;

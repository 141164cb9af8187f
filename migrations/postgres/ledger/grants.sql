-- What the gateways may do with the ledger, complete for the newest schema. It is run after every migration, also one that has
-- nothing to change, so that a role that was created later gets its rights.
--
-- All rights belong to the role ledgerway_gateway, which nobody logs in as. It has no right to change the schema, and none to
-- change or delete what was recorded. A role belongs to all databases of a server, so another migration may be creating it.
DO $$
BEGIN
    -- A grant of somebody else is only a warning.
    IF NOT pg_has_role((SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'ledger'), 'USAGE') THEN
        RAISE EXCEPTION 'only its owner migrates the schema ledger' USING ERRCODE = 'insufficient_privilege';
    END IF;

    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'ledgerway_gateway') THEN
            CREATE ROLE ledgerway_gateway NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        -- An owner without the right to create roles can serve alone, or has the role created and migrates again.
        WHEN insufficient_privilege THEN
            RETURN;
    END;

    -- Only a warning if the owner of the schema does not own the database.
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ledgerway_gateway', current_database());
    REVOKE ALL ON SCHEMA ledger FROM ledgerway_gateway;
    REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM ledgerway_gateway;
    GRANT USAGE ON SCHEMA ledger TO ledgerway_gateway;
    GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledgerway_gateway;
    GRANT INSERT ON ledger.events, ledger.batches, ledger.contexts, ledger.owner_blocks TO ledgerway_gateway;
    GRANT UPDATE ON ledger.ledger_checkpoint TO ledgerway_gateway;
    GRANT INSERT, UPDATE ON ledger.balances, ledger.catalogue, ledger.leases TO ledgerway_gateway;
    GRANT INSERT, UPDATE, DELETE
        ON ledger.open_holds, ledger.idempotency, ledger.inference_keys, ledger.names, ledger.personal_data,
           ledger.key_secrets, ledger.sealed_secrets, ledger.wrapped_keys, ledger.nodes, ledger.tenant_keys,
           ledger.running_nodes, ledger.client_addresses
        TO ledgerway_gateway;
    GRANT EXECUTE ON FUNCTION ledger.keep_others_from_appending(), ledger.drop_dead_rows(text, xid8) TO ledgerway_gateway;
END $$;

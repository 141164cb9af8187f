-- Who may use the copy for analysts, complete for the newest layout. It is run after every migration, also one that has nothing to
-- change, so that a role that was created later gets its rights.
--
-- The gateways write the rows. Analysts read the SQL views, which run with the rights of their owner, and have no right to anything
-- else: neither to the rows nor to the ledger. Nobody logs in as ledgerway_analyst; roles belong to all databases of a server, so
-- another migration may be creating it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'ledgerway_gateway') THEN
        REVOKE ALL ON ALL TABLES IN SCHEMA views_rows FROM ledgerway_gateway;
        REVOKE ALL ON SCHEMA views_rows FROM ledgerway_gateway;
        GRANT USAGE ON SCHEMA views_rows TO ledgerway_gateway;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA views_rows TO ledgerway_gateway;
        REVOKE INSERT, UPDATE, DELETE ON views_rows.layout FROM ledgerway_gateway;
        REVOKE INSERT, DELETE ON views_rows.copied FROM ledgerway_gateway;
    END IF;

    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'ledgerway_analyst') THEN
            CREATE ROLE ledgerway_analyst NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        -- An owner without the right to create roles has the role created, and migrates again.
        WHEN insufficient_privilege THEN
            RETURN;
    END;

    -- Only a warning if the owner of the schema does not own the database.
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ledgerway_analyst', current_database());
    REVOKE ALL ON ALL TABLES IN SCHEMA views FROM ledgerway_analyst;
    REVOKE ALL ON SCHEMA views FROM ledgerway_analyst;
    GRANT USAGE ON SCHEMA views TO ledgerway_analyst;
    GRANT SELECT ON ALL TABLES IN SCHEMA views TO ledgerway_analyst;
END $$;

-- Creates the database and its users, once, as the server's superuser. SECRETS is the folder with the passwords: they are in no
-- variable and no argument.
\set ON_ERROR_STOP on
\set owner_password `cat "$SECRETS/owner_password"`
\set gateway_password `cat "$SECRETS/gateway_password"`
\set analyst_password `cat "$SECRETS/analyst_password"`
-- A statement that fails is not logged: it would have a password in it.
SET log_min_error_statement = panic;

CREATE ROLE ledgerway_owner LOGIN PASSWORD :'owner_password';
-- `ledgerway migrate` grants these two roles what their members may do.
CREATE ROLE ledgerway_gateway NOLOGIN;
CREATE ROLE ledgerway_analyst NOLOGIN;
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password' IN ROLE ledgerway_gateway;
CREATE ROLE analyst LOGIN PASSWORD :'analyst_password' IN ROLE ledgerway_analyst;
CREATE DATABASE ledgerway OWNER ledgerway_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE CONNECT ON DATABASE ledgerway FROM PUBLIC;
-- docs/sql.md: it finds the tables by their names, and a query that it has forgotten holds back no clean-up.
ALTER ROLE analyst SET search_path = views;
ALTER ROLE analyst SET timezone = 'UTC';
ALTER ROLE analyst SET default_transaction_read_only = on;
ALTER ROLE analyst SET statement_timeout = '5min';
ALTER ROLE analyst SET idle_in_transaction_session_timeout = '1min';

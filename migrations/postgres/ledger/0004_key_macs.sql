-- The HMAC-SHA256 of a key's secret, with the key's id and the generation, under a key of the installation. Null if a node of an
-- earlier version stored the secret, until it was checked once. Salt and hash are what such nodes check.
ALTER TABLE ledger.key_secrets ADD COLUMN mac bytea;

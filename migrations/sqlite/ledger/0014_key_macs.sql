-- The HMAC-SHA256 of a key's secret, with the key's id and the generation, under a key of the installation. Null until a slow
-- hash of an earlier version was checked once; salt and hash are empty then.
ALTER TABLE key_secrets ADD COLUMN mac BLOB;

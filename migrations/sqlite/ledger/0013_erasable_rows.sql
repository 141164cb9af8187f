-- Rows that an erasure leaves nowhere. When SQLite inserts into the middle of a table, or deletes from it, it moves rows from page
-- to page, and copies of them remain in the unused parts of pages, which `secure_delete` does not overwrite. A row that is only
-- ever added at the end, and later overwritten by as many bytes, never moves. So these tables are written through views: their
-- triggers never delete a row, they overwrite what it says with zeros.

-- Views of an operator on these tables keep their names, and so read the new views.
PRAGMA legacy_alter_table = ON;
ALTER TABLE personal_data RENAME TO movable_personal_data;
ALTER TABLE client_addresses RENAME TO movable_client_addresses;
ALTER TABLE sealed_secrets RENAME TO movable_sealed_secrets;
PRAGMA legacy_alter_table = OFF;

CREATE TABLE erasable_personal_data (
    place     INTEGER PRIMARY KEY,                 -- rows have the order in which they were added
    subject   TEXT    NOT NULL,                    -- a user's id
    name      TEXT    NOT NULL,
    email     TEXT,
    salt      BLOB    NOT NULL,                    -- of the digests in the events
    is_erased INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX personal_data_by_subject ON erasable_personal_data (subject) WHERE is_erased = 0;

CREATE VIEW personal_data AS
SELECT subject, name, email, salt FROM erasable_personal_data WHERE is_erased = 0;

CREATE TRIGGER erase_personal_data INSTEAD OF DELETE ON personal_data BEGIN
    UPDATE erasable_personal_data
    SET name = CAST(zeroblob(length(CAST(name AS BLOB))) AS TEXT),
        email = CAST(zeroblob(length(CAST(email AS BLOB))) AS TEXT),
        salt = zeroblob(length(salt)),
        is_erased = 1
    WHERE subject = OLD.subject AND is_erased = 0;
END;

-- Replaces what there is.
CREATE TRIGGER put_personal_data INSTEAD OF INSERT ON personal_data BEGIN
    DELETE FROM personal_data WHERE subject = NEW.subject;
    INSERT INTO erasable_personal_data (subject, name, email, salt) VALUES (NEW.subject, NEW.name, NEW.email, NEW.salt);
END;

CREATE TABLE erasable_client_addresses (
    place      INTEGER PRIMARY KEY,
    request_id TEXT    NOT NULL,
    ip         TEXT    NOT NULL,
    user_agent TEXT,
    is_erased  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX client_addresses_by_request ON erasable_client_addresses (request_id) WHERE is_erased = 0;

CREATE VIEW client_addresses AS
SELECT request_id, ip, user_agent FROM erasable_client_addresses WHERE is_erased = 0;

CREATE TRIGGER erase_client_address INSTEAD OF DELETE ON client_addresses BEGIN
    UPDATE erasable_client_addresses
    SET ip = CAST(zeroblob(length(CAST(ip AS BLOB))) AS TEXT),
        user_agent = CAST(zeroblob(length(CAST(user_agent AS BLOB))) AS TEXT),
        is_erased = 1
    WHERE request_id = OLD.request_id AND is_erased = 0;
END;

CREATE TRIGGER put_client_address INSTEAD OF INSERT ON client_addresses BEGIN
    DELETE FROM client_addresses WHERE request_id = NEW.request_id;
    INSERT INTO erasable_client_addresses (request_id, ip, user_agent) VALUES (NEW.request_id, NEW.ip, NEW.user_agent);
END;

CREATE TABLE erasable_sealed_secrets (
    place      INTEGER PRIMARY KEY,
    subject    TEXT    NOT NULL,                   -- a provider's id, or the name of a key of content
    generation INTEGER NOT NULL,
    key_scope  TEXT    NOT NULL,                   -- whose key opens it
    sealed     BLOB    NOT NULL,
    is_erased  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX sealed_secrets_by_subject ON erasable_sealed_secrets (subject, generation) WHERE is_erased = 0;

CREATE VIEW sealed_secrets AS
SELECT subject, generation, key_scope, sealed FROM erasable_sealed_secrets WHERE is_erased = 0;

CREATE TRIGGER erase_sealed_secret INSTEAD OF DELETE ON sealed_secrets BEGIN
    UPDATE erasable_sealed_secrets SET sealed = zeroblob(length(sealed)), is_erased = 1
    WHERE subject = OLD.subject AND generation = OLD.generation AND is_erased = 0;
END;

CREATE TRIGGER put_sealed_secret INSTEAD OF INSERT ON sealed_secrets BEGIN
    DELETE FROM sealed_secrets WHERE subject = NEW.subject AND generation = NEW.generation;
    INSERT INTO erasable_sealed_secrets (subject, generation, key_scope, sealed)
    VALUES (NEW.subject, NEW.generation, NEW.key_scope, NEW.sealed);
END;

INSERT INTO personal_data (subject, name, email, salt) SELECT subject, name, email, salt FROM movable_personal_data;
INSERT INTO client_addresses (request_id, ip, user_agent)
SELECT request_id, ip, user_agent FROM movable_client_addresses;
INSERT INTO sealed_secrets (subject, generation, key_scope, sealed)
SELECT subject, generation, key_scope, sealed FROM movable_sealed_secrets;

DROP TABLE movable_personal_data;
DROP TABLE movable_client_addresses;
DROP TABLE movable_sealed_secrets;

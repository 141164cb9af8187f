-- A STRICT table checks the type of a generated column at every insert: this one parsed the metadata of each event.
ALTER TABLE events DROP COLUMN tenant_id;

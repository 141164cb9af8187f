-- Triggers of one connection: they leave nothing in the file, and go with their tables.

CREATE TEMP TRIGGER IF NOT EXISTS catalogue_insert AFTER INSERT ON main.rows_catalogue BEGIN
    INSERT INTO touched_catalogue (at, kind, id)
    VALUES (batch_position(), NEW.kind, NEW.id)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS catalogue_update AFTER UPDATE ON main.rows_catalogue BEGIN
    INSERT INTO touched_catalogue (at, kind, id)
    VALUES (batch_position(), NEW.kind, NEW.id)
    ON CONFLICT DO NOTHING;
END;

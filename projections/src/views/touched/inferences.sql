-- Triggers of one connection: they leave nothing in the file, and go with their tables.

CREATE TEMP TRIGGER IF NOT EXISTS inferences_insert AFTER INSERT ON main.rows_inferences BEGIN
    INSERT INTO touched_inferences (at, position)
    VALUES (batch_position(), NEW.position)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS inferences_update AFTER UPDATE ON main.rows_inferences BEGIN
    INSERT INTO touched_inferences (at, position)
    VALUES (batch_position(), NEW.position)
    ON CONFLICT DO NOTHING;
END;

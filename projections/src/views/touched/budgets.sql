-- Triggers of one connection: they leave nothing in the file, and go with their tables.

CREATE TEMP TRIGGER IF NOT EXISTS budgets_insert AFTER INSERT ON main.rows_budgets BEGIN
    INSERT INTO touched_budgets (at, budget_id)
    VALUES (batch_position(), NEW.budget_id)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS budgets_update AFTER UPDATE ON main.rows_budgets BEGIN
    INSERT INTO touched_budgets (at, budget_id)
    VALUES (batch_position(), NEW.budget_id)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS budget_windows_insert AFTER INSERT ON main.rows_budget_windows BEGIN
    INSERT INTO touched_budget_windows (at, budget_id, window_start)
    VALUES (batch_position(), NEW.budget_id, NEW.window_start)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS budget_windows_update AFTER UPDATE ON main.rows_budget_windows BEGIN
    INSERT INTO touched_budget_windows (at, budget_id, window_start)
    VALUES (batch_position(), NEW.budget_id, NEW.window_start)
    ON CONFLICT DO NOTHING;
END;

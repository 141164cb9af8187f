-- Triggers of one connection: they leave nothing in the file, and go with their tables.

CREATE TEMP TRIGGER IF NOT EXISTS usage_by_hour_insert AFTER INSERT ON main.rows_usage_by_hour BEGIN
    INSERT INTO touched_usage (at, hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer)
    VALUES (batch_position(), NEW.hour, NEW.partner_id, NEW.tenant_id, NEW.user_id, NEW.key_id, NEW.model, NEW.provider,
            NEW.backend, NEW.payer)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS usage_by_hour_update AFTER UPDATE ON main.rows_usage_by_hour BEGIN
    INSERT INTO touched_usage (at, hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer)
    VALUES (batch_position(), NEW.hour, NEW.partner_id, NEW.tenant_id, NEW.user_id, NEW.key_id, NEW.model, NEW.provider,
            NEW.backend, NEW.payer)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS usage_by_hour_delete AFTER DELETE ON main.rows_usage_by_hour BEGIN
    INSERT INTO touched_usage (at, hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer)
    VALUES (batch_position(), OLD.hour, OLD.partner_id, OLD.tenant_id, OLD.user_id, OLD.key_id, OLD.model, OLD.provider,
            OLD.backend, OLD.payer)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS usage_latency_insert AFTER INSERT ON main.rows_usage_latency BEGIN
    INSERT INTO touched_usage (at, hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer)
    VALUES (batch_position(), NEW.hour, NEW.partner_id, NEW.tenant_id, NEW.user_id, NEW.key_id, NEW.model, NEW.provider,
            NEW.backend, NEW.payer)
    ON CONFLICT DO NOTHING;
END;

CREATE TEMP TRIGGER IF NOT EXISTS usage_latency_update AFTER UPDATE ON main.rows_usage_latency BEGIN
    INSERT INTO touched_usage (at, hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer)
    VALUES (batch_position(), NEW.hour, NEW.partner_id, NEW.tenant_id, NEW.user_id, NEW.key_id, NEW.model, NEW.provider,
            NEW.backend, NEW.payer)
    ON CONFLICT DO NOTHING;
END;

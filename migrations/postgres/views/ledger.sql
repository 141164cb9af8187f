-- A new ledger counts its leases from the beginning, so the tokens of the one before would keep its copier out. Run by every migration.
DO $$
DECLARE
    first_token uuid;
BEGIN
    IF to_regclass('ledger.batches') IS NULL THEN
        RETURN;
    END IF;
    SELECT token INTO first_token FROM ledger.batches WHERE first = 0;
    UPDATE views_rows.layout SET ledger = first_token WHERE ledger IS DISTINCT FROM first_token;
    IF FOUND THEN
        UPDATE views_rows.copied SET version = 0, position = 0, recorded_at = 0, file = '', swaps = 0, token = 0;
    END IF;
END $$;

//! Whether the log can be written: rows as those of a batch are inserted, and taken back by the same statement. Their places are
//! before the log, so that nobody else's batch waits for them.

use super::PostgresEngine;
use crate::LogError;

/// The error that takes the rows back is caught, so that the server does not log it.
const INSERT_AND_TAKE_BACK: &str = "
    DO $$ BEGIN
        INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
            VALUES (-1, -1, 0, 'probe', gen_random_uuid(), false);
        INSERT INTO ledger.events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version,
                                   payload, metadata)
            VALUES (-1, 0, 'probe', 'probe', 1, 'probe', '1', '{}', '{}');
        RAISE EXCEPTION USING ERRCODE = 'PROBE';
    EXCEPTION WHEN SQLSTATE 'PROBE' THEN NULL;
    END $$";

impl PostgresEngine {
    pub(super) fn insert_and_take_back(&mut self) -> Result<(), LogError> {
        let done = self.session.run(async |connection| sqlx::raw_sql(INSERT_AND_TAKE_BACK).execute(connection).await);
        Ok(done.map(drop)?)
    }
}

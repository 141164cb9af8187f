//! Dropping of idempotency keys that have expired.

use chrono::{DateTime, Utc};

use super::PostgresEngine;
use crate::LogError;
use crate::inference_keys::IDEMPOTENCY_KEPT;
use crate::stored::signed;

/// Skips rows that somebody is writing: waiting for them while holding others could end in a deadlock.
const FORGET_REPLIES: &str = "DELETE FROM ledger.idempotency WHERE (scope, key) IN
    (SELECT scope, key FROM ledger.idempotency WHERE recorded_at <= $1 ORDER BY recorded_at LIMIT $2
     FOR UPDATE SKIP LOCKED)";
const FORGET_CLAIMS: &str = "DELETE FROM ledger.inference_keys WHERE (tenant, key) IN
    (SELECT tenant, key FROM ledger.inference_keys WHERE recorded_at <= $1 ORDER BY recorded_at LIMIT $2
     FOR UPDATE SKIP LOCKED)";

impl PostgresEngine {
    pub(super) fn forget_keys(&mut self, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError> {
        let until = (now - IDEMPOTENCY_KEPT).timestamp_micros();
        let limit = signed(rows_max as u64);
        let (replies, claims) = self.session.run(async |connection| {
            let replies = sqlx::query(FORGET_REPLIES).bind(until).bind(limit).execute(&mut *connection).await?;
            let claims = sqlx::query(FORGET_CLAIMS).bind(until).bind(limit).execute(connection).await?;
            Ok((replies.rows_affected(), claims.rows_affected()))
        })?;
        Ok(replies.max(claims) < rows_max as u64)
    }
}

//! The transaction of a batch.

use chrono::{DateTime, Utc};
use events::event::{Context, Recorded};
use rusqlite::{Connection, params};

use super::contexts::{SqliteContexts, text};
use super::{read, side, state};
use crate::draft::{Draft, StateRows};
use crate::engine::AppendOutcome;
use crate::facts::{Claim, ClaimedKey};
use crate::inference_keys::IDEMPOTENCY_KEPT;
use crate::side::ReplyKey;
use crate::stored::{is_of_its_request, stored};
use crate::{LogError, StoredReply};

const INSERT_EVENT: &str = include_str!("sql/insert_event.sql");
const INSERT_IDEMPOTENCY: &str = include_str!("sql/insert_idempotency.sql");
const INSERT_CLAIM: &str = "INSERT OR REPLACE INTO inference_keys (tenant, key, fingerprint, request_id, recorded_at)
                            VALUES (?1, ?2, ?3, ?4, ?5)";
const FORGET_REPLIES: &str = "DELETE FROM idempotency WHERE (scope, key) IN
                              (SELECT scope, key FROM idempotency WHERE recorded_at <= ?1 ORDER BY recorded_at LIMIT ?2)";
const FORGET_CLAIMS: &str = "DELETE FROM inference_keys WHERE (tenant, key) IN
                             (SELECT tenant, key FROM inference_keys WHERE recorded_at <= ?1 ORDER BY recorded_at LIMIT ?2)";

/// Writes a draft durably. An empty draft writes nothing, but shows that the ledger can be written.
pub(super) fn append(
    connection: &Connection,
    contexts: &mut SqliteContexts,
    draft: &Draft,
    rows: Option<&StateRows<'_>>,
) -> Result<AppendOutcome, LogError> {
    let outcome = append_whole(connection, contexts, draft, rows);
    if !matches!(outcome, Ok(AppendOutcome::Committed)) {
        contexts.forget();
    }
    outcome
}

fn append_whole(
    connection: &Connection,
    contexts: &mut SqliteContexts,
    draft: &Draft,
    rows: Option<&StateRows<'_>>,
) -> Result<AppendOutcome, LogError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let written = write(connection, contexts, draft, rows);
    if !matches!(written, Ok(AppendOutcome::Committed)) {
        let _ = connection.execute_batch("ROLLBACK");
        return written;
    }
    // Every statement has succeeded, so whatever the error says, the disk has failed.
    let committed = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    committed.map_err(|error| {
        let _ = connection.execute_batch("ROLLBACK");
        LogError::Commit(LogError::from(error).to_string())
    })?;
    Ok(AppendOutcome::Committed)
}

fn write(
    connection: &Connection,
    contexts: &mut SqliteContexts,
    draft: &Draft,
    rows: Option<&StateRows<'_>>,
) -> Result<AppendOutcome, LogError> {
    // The folder's lock is advisory: another process may have written to the file.
    if read::head(connection)?.position != draft.after {
        return Ok(AppendOutcome::Moved);
    }
    insert_events(connection, contexts, &draft.events)?;
    for row in &draft.side {
        side::write(row, connection)?;
    }
    let recorded_at = draft.recorded_at.timestamp_micros();
    for (ReplyKey { scope, key }, StoredReply { fingerprint, status, body, position }) in &draft.replies {
        let values = params![scope, key, fingerprint, status, body, position, recorded_at];
        connection.prepare_cached(INSERT_IDEMPOTENCY)?.execute(values)?;
    }
    for (ClaimedKey { tenant, key }, Claim { fingerprint, request_id }) in &draft.claims {
        let values = params![tenant.to_string(), key, fingerprint, request_id.to_string(), recorded_at];
        connection.prepare_cached(INSERT_CLAIM)?.execute(values)?;
    }
    if let Some(rows) = rows {
        state::write(connection, draft, rows)?;
    }
    Ok(AppendOutcome::Committed)
}

fn insert_events(
    connection: &Connection,
    contexts: &mut SqliteContexts,
    events: &[impl AsRef<Recorded>],
) -> Result<(), LogError> {
    let mut insert = connection.prepare_cached(INSERT_EVENT)?;
    let mut json = Json::default();
    for recorded in events.iter().map(AsRef::as_ref) {
        let (payload, metadata) = json.of(connection, contexts, recorded)?;
        insert.execute(params![
            recorded.position,
            recorded.recorded_at.timestamp_micros(),
            recorded.stream.kind.as_str(),
            recorded.stream.id,
            recorded.sequence,
            recorded.event.name(),
            // The column is text, so that the database stores `1` as '1'.
            recorded.event.version(),
            payload,
            metadata,
        ])?;
    }
    Ok(())
}

/// Buffers for the JSON of an event, reused for the next one.
#[derive(Default)]
struct Json<'a> {
    payload: Vec<u8>,
    /// The metadata of `before`, which consecutive events of a request share.
    metadata: Vec<u8>,
    /// The event before: whether its context is stored by number, and the context.
    before: Option<(bool, &'a Context)>,
}

impl<'a> Json<'a> {
    /// The event's payload and metadata.
    fn of(
        &mut self,
        connection: &Connection,
        contexts: &mut SqliteContexts,
        recorded: &'a Recorded,
    ) -> Result<(&str, &str), LogError> {
        self.payload.clear();
        recorded.event.write_payload(&mut self.payload).map_err(stored)?;
        let now = (is_of_its_request(recorded), &recorded.context);
        if self.before != Some(now) {
            self.metadata.clear();
            contexts.write_metadata(connection, now.0, now.1, &mut self.metadata)?;
            self.before = Some(now);
        }
        Ok((text(&self.payload)?, text(&self.metadata)?))
    }
}

/// Drops expired idempotency keys, at most `rows_max` per table. Returns true if none are left.
pub(super) fn tidy(connection: &Connection, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError> {
    let values = params![(now - IDEMPOTENCY_KEPT).timestamp_micros(), rows_max];
    let replies = connection.prepare_cached(FORGET_REPLIES)?.execute(values)?;
    let claims = connection.prepare_cached(FORGET_CLAIMS)?.execute(values)?;
    Ok(replies < rows_max && claims < rows_max)
}

#[cfg(test)]
mod tests;

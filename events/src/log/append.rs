//! One open append transaction: gives positions and sequences, and writes events and what stands beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::read::{self, micros};
use super::{Append, AppendError, Basis, LogError, SideRow};
use crate::event::hold::BudgetWindow;
use crate::event::{Context, Event, Hold, Inference, Recorded, Stream};
use crate::fraction::Fraction;
use crate::ledger::{Amounts, Balances, Changes, Emitted, EndedHold};
use crate::money::NanoUsd;

const INSERT_EVENT: &str = include_str!("sql/insert_event.sql");
const LAST_SEQUENCE: &str = include_str!("sql/last_sequence.sql");
const LAST_POSITION: &str = "SELECT position FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2
                             ORDER BY sequence DESC LIMIT 1";
const UPSERT_BALANCE: &str = include_str!("sql/upsert_balance.sql");
const MOVE_CHECKPOINT: &str = "UPDATE ledger_checkpoint SET position = ?1";
const INSERT_OPEN_HOLD: &str =
    "INSERT OR REPLACE INTO open_holds (request_id, held, expires_at, hold) VALUES (?1, ?2, ?3, ?4)";
const DELETE_OPEN_HOLD: &str = "DELETE FROM open_holds WHERE request_id = ?1";
const INSERT_IDEMPOTENCY: &str = include_str!("sql/insert_idempotency.sql");
const NAME_OWNER: &str = "SELECT owner FROM names WHERE kind = ?1 AND scope = ?2 AND name = ?3";

/// What a batch has recorded so far; durable only once its transaction commits.
pub(super) struct Batch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: DateTime<Utc>,
    /// The last position given.
    pub(super) position: u64,
    pub(super) recorded: Vec<Arc<Recorded>>,
    insert: CachedStatement<'a>,
    json: Json,
}

/// Room for the JSON of one event, kept from one to the next.
#[derive(Default)]
struct Json {
    payload: Vec<u8>,
    /// Of the context below: the events of one request follow each other, and share theirs.
    metadata: Vec<u8>,
    context: Option<Context>,
}

impl Json {
    /// Payload and metadata.
    fn of(&mut self, emitted: &Emitted) -> Result<(&str, &str), LogError> {
        let stored = |error: serde_json::Error| LogError::Stored(error.to_string());
        self.payload.clear();
        emitted.event.write_payload(&mut self.payload).map_err(stored)?;
        if self.context.as_ref() != Some(&emitted.context) {
            self.metadata.clear();
            serde_json::to_writer(&mut self.metadata, &emitted.context).map_err(stored)?;
            self.context = Some(emitted.context.clone());
        }
        Ok((text(&self.payload)?, text(&self.metadata)?))
    }
}

fn text(json: &[u8]) -> Result<&str, LogError> {
    std::str::from_utf8(json).map_err(|error| LogError::Stored(error.to_string()))
}

impl<'a> Batch<'a> {
    pub(super) fn begin(connection: &'a Connection, now: DateTime<Utc>, position: u64) -> Result<Self, LogError> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let insert = connection.prepare_cached(INSERT_EVENT)?;
        Ok(Self { connection, now, position, recorded: Vec::new(), insert, json: Json::default() })
    }

    /// Durable when it returns. An empty batch leaves nothing behind.
    pub(super) fn commit(self) -> Result<(u64, Vec<Arc<Recorded>>), LogError> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok((self.position, self.recorded))
    }

    /// Records what one decision brought forth, in order; the position of the last, if there was any.
    pub(super) fn record_decided(&mut self, events: Vec<Emitted>) -> Result<Option<u64>, LogError> {
        let mut failed_attempts = 0;
        let mut last = None;
        for emitted in events {
            let sequence = match &emitted.event {
                // A request's streams begin with these …
                Event::Inference(Inference::Admitted(_) | Inference::Refused(_)) | Event::Hold(Hold::Reserved(_)) => 1,
                // … and end with these: that an end is always 2 is what makes a second one impossible.
                Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_)) => 2,
                Event::Inference(Inference::AttemptFailed(_)) => {
                    failed_attempts += 1;
                    1 + failed_attempts
                }
                Event::Inference(Inference::Completed(_) | Inference::Failed(_) | Inference::Aborted(_)) => {
                    2 + std::mem::take(&mut failed_attempts)
                }
                _ => self.last_sequence(&emitted.stream)? + 1,
            };
            last = Some(self.record(emitted, sequence)?);
        }
        Ok(last)
    }

    pub(super) fn record(&mut self, emitted: Emitted, sequence: u64) -> Result<u64, LogError> {
        let (payload, metadata) = self.json.of(&emitted)?;
        let Emitted { stream, context, event } = emitted;
        let position = self.position + 1;
        self.insert.execute(params![
            position,
            self.now.timestamp_micros(),
            stream.kind.as_str(),
            stream.id,
            sequence,
            event.name(),
            version_text(event.version()),
            payload,
            metadata,
        ])?;
        self.position = position;
        self.recorded.push(Arc::new(Recorded { position, recorded_at: self.now, stream, sequence, context, event }));
        Ok(position)
    }

    pub(super) fn last_sequence(&self, stream: &Stream) -> Result<u64, LogError> {
        let mut statement = self.connection.prepare_cached(LAST_SEQUENCE)?;
        Ok(statement
            .query_row(params![stream.kind.as_str(), stream.id], |row| row.get::<_, Option<u64>>(0))?
            .unwrap_or(0))
    }

    /// Whether an append may be made, before anything of it is written: its conflict must not take the batch with it.
    pub(super) fn check(&self, append: &Append) -> Result<(), AppendError> {
        if let Some(idempotency) = &append.idempotency
            && let Some(stored) = read::idempotent_reply(self.connection, &idempotency.scope, &idempotency.key)?
        {
            let same = stored.fingerprint == idempotency.fingerprint;
            return Err(if same { AppendError::Replayed(stored) } else { AppendError::IdempotencyKeyReused });
        }
        if self.last_sequence(&append.stream)? != append.expected_sequence {
            return Err(AppendError::OptimisticLock);
        }
        self.check_basis(&append.basis)?;
        append.side.iter().try_for_each(|row| self.check_name(row))
    }

    fn check_basis(&self, basis: &Basis) -> Result<(), AppendError> {
        for stream in &basis.streams {
            let position = self.last_position(stream)?;
            if position > basis.known_until {
                return Err(AppendError::Outdated { position });
            }
        }
        Ok(())
    }

    fn last_position(&self, stream: &Stream) -> Result<u64, LogError> {
        let mut statement = self.connection.prepare_cached(LAST_POSITION)?;
        let position = statement.query_row(params![stream.kind.as_str(), stream.id], |row| row.get(0)).optional()?;
        Ok(position.unwrap_or(0))
    }

    fn check_name(&self, row: &SideRow) -> Result<(), AppendError> {
        let SideRow::ClaimName { kind, scope, name, owner } = row else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(NAME_OWNER).map_err(LogError::from)?;
        let holder: Option<String> = statement
            .query_row(params![kind.as_str(), scope, name], |row| row.get(0))
            .optional()
            .map_err(LogError::from)?;
        match holder {
            Some(other) if other != *owner => Err(AppendError::NameTaken { kind: *kind, name: name.clone() }),
            _ => Ok(()),
        }
    }

    /// Writes an append that was checked; positions of its first and last event.
    pub(super) fn append(&mut self, append: &Append) -> Result<(u64, u64), LogError> {
        let first = self.position + 1;
        for (sequence, event) in (append.expected_sequence + 1..).zip(&append.events) {
            let emitted =
                Emitted { stream: append.stream.clone(), context: append.context.clone(), event: event.clone() };
            self.record(emitted, sequence)?;
        }
        for row in &append.side {
            row.write(self.connection)?;
        }
        if let Some(idempotency) = &append.idempotency {
            self.connection.prepare_cached(INSERT_IDEMPOTENCY)?.execute(params![
                idempotency.scope,
                idempotency.key,
                idempotency.fingerprint,
                idempotency.status,
                idempotency.body,
                self.position,
                self.now.timestamp_micros(),
            ])?;
        }
        Ok((first, self.position))
    }

    /// Brings the rows of the ledger's state to the position of this batch.
    pub(super) fn write_state(&self, changes: &Changes, balances: &Balances) -> Result<(), LogError> {
        self.connection.prepare_cached(MOVE_CHECKPOINT)?.execute([self.position])?;
        let mut upsert = self.connection.prepare_cached(UPSERT_BALANCE)?;
        for window in &changes.windows {
            let Amounts { settled, held } = balances.amounts(window);
            let limit = balances.budget(window.budget_id).map(|budget| budget.limit.nanos());
            upsert.execute(params![
                window.budget_id.to_string(),
                stored_window_start(window),
                limit,
                settled.nanos(),
                held.nanos(),
                stored_announced(balances, window),
                self.position,
            ])?;
        }
        let mut delete = self.connection.prepare_cached(DELETE_OPEN_HOLD)?;
        for request in &changes.closed {
            delete.execute([request.to_string()])?;
        }
        let mut insert = self.connection.prepare_cached(INSERT_OPEN_HOLD)?;
        for request in &changes.opened {
            let Some(hold) = balances.open_hold(*request) else { continue };
            let json = hold.to_json().map_err(|error| LogError::Stored(error.to_string()))?;
            insert.execute(params![
                request.to_string(),
                hold.held.nanos(),
                hold.expires_at.timestamp_micros(),
                json
            ])?;
        }
        Ok(())
    }

    /// How a hold that is not open ended: the position of its end, and what it was charged if it expired.
    pub(super) fn ended_hold(&self, hold: &Stream) -> Result<Option<(u64, Option<EndedHold>)>, LogError> {
        let history = read::stream(self.connection, hold)?;
        let Some(last) = history.last() else { return Ok(None) };
        let expired = match &last.event {
            Event::Hold(Hold::Expired(expired)) => {
                Some(EndedHold { windows: expired.budgets.clone(), charged: expired.charged_usd })
            }
            _ => None,
        };
        Ok(Some((last.position, expired)))
    }
}

/// Loads windows that are over and were forgotten.
pub(super) fn load_windows(
    connection: &Connection,
    windows: &[BudgetWindow],
    balances: &mut Balances,
) -> Result<(), LogError> {
    const SELECT: &str = "SELECT settled, held, announced FROM balances WHERE budget_id = ?1 AND window_start = ?2";
    for window in windows {
        if balances.knows_window(window) {
            continue;
        }
        let key = params![window.budget_id.to_string(), stored_window_start(window)];
        let kept = |row: &rusqlite::Row<'_>| {
            let amounts = Amounts { settled: NanoUsd::new(row.get(0)?), held: NanoUsd::new(row.get(1)?) };
            Ok((amounts, row.get::<_, String>(2)?))
        };
        if let Some((amounts, announced)) = connection.prepare_cached(SELECT)?.query_row(key, kept).optional()? {
            balances.restore_window(*window, amounts);
            balances.restore_announced(*window, read_announced(&announced)?);
        }
    }
    Ok(())
}

/// The fractions of a window that were announced, as one text: `0.5,0.8`.
fn stored_announced(balances: &Balances, window: &BudgetWindow) -> String {
    balances.announced(window).map(|fraction| fraction.to_string()).collect::<Vec<_>>().join(",")
}

/// The same, read.
pub(crate) fn read_announced(text: &str) -> Result<BTreeSet<Fraction>, LogError> {
    let fractions = text.split(',').filter(|fraction| !fraction.is_empty());
    let read = |fraction: &str| fraction.parse().map_err(|error| LogError::Stored(format!("{fraction}: {error}")));
    fractions.map(read).collect()
}

/// -1 stands for the window of the period `total`, which has no start: no window begins before 1970.
pub(super) fn stored_window_start(window: &BudgetWindow) -> i64 {
    window.window_start.map_or(-1, micros)
}

/// Versions are few: no allocation for the common one.
fn version_text(version: u32) -> std::borrow::Cow<'static, str> {
    if version == 1 { "1".into() } else { version.to_string().into() }
}

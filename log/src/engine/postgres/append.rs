//! Appends: one statement whose gate opens only for whoever knows the last batch, and what follows from a gate that did not
//! open or from an answer that did not come.
//!
//! The token of a batch is drawn once, however often its statement is sent. The primary key of the gate lets one of two
//! copies through, and the token at its place tells whose batch is there.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::batch::{Batch, BatchPlace, without_events};
use super::error::{is_about_connection, unavailable};
use super::read::{Tip, unsigned};
use super::statement::Statement;
use super::{PostgresEngine, side};
use crate::draft::{Draft, StateRows};
use crate::engine::AppendOutcome;
use crate::stored::signed;
use crate::{EngineError, EngineErrorKind, LogError, SideRow};

/// How long after it was first sent a statement is sent again whose answer was lost: shorter than callers wait.
const DOUBT_MAX: Duration = Duration::from_secs(8);
/// The pause before it is sent again.
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

/// Keeps others from appending until the transaction ends; readers are not concerned.
const LOCK: &str = "SELECT ledger.keep_others_from_appending()";
const STANDING: &str = "
    SELECT (SELECT token FROM ledger.batches WHERE first = $1),
           (SELECT token FROM ledger.batches WHERE first = $2 AND last = $3),
           (SELECT last FROM ledger.batches ORDER BY first DESC LIMIT 1),
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const TIP: &str = "
    SELECT first, last, token, EXISTS (SELECT FROM ledger.batches WHERE first = $1 AND last = $2 AND token = $3),
           pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
           (SELECT string_agg(name, ', ') FROM unnest(ARRAY[
                'ledger.batches', 'ledger.events', 'ledger.contexts', 'ledger.inference_keys', 'ledger.idempotency'
            ]) AS name WHERE NOT has_table_privilege(name, 'INSERT'))
    FROM ledger.batches ORDER BY first DESC LIMIT 1";

/// The result of one copy of a statement.
enum SendResult {
    /// The gate was open, and everything is durable.
    Written,
    GateClosed(GateState),
}

/// The batches at the place of a batch, and before it.
struct GateState {
    at_place: Option<Uuid>,
    before: Option<Uuid>,
    /// The log's last position.
    head: i64,
    /// The database's clock.
    now: i64,
}

/// The meaning of a gate's state for a batch that was not written.
enum NotWritten {
    Decided(AppendOutcome),
    /// Another node has its turn, or a competitor was at its place, and then was not.
    Closed,
}

impl PostgresEngine {
    /// Writes a draft durably. One that has nothing to write shows that the log ends where it says, and can be written.
    pub(super) fn write(&mut self, draft: &Draft, rows: Option<&StateRows<'_>>) -> Result<AppendOutcome, LogError> {
        self.must_be_at(draft.after)?;
        if draft.events.is_empty() {
            if rows.is_some() {
                return Err(LogError::Append("the rows of the state are written with events only".to_owned()));
            }
            return self.write_without_events(draft);
        }
        let Some(written) = self.send(draft, rows)? else { return Ok(AppendOutcome::Moved) };
        self.tip = written.tip;
        self.contexts.note_all_stored(written.contexts);
        Ok(AppendOutcome::Committed)
    }

    /// Sends a batch until it is certain what became of it. Returns it if it was written.
    fn send(&mut self, draft: &Draft, rows: Option<&StateRows<'_>>) -> Result<Option<Batch>, LogError> {
        let (before, token, side) = (self.tip, self.ids.make(), draft.side.as_slice());
        let mut respects_turns = self.turns.must_be_respected();
        let began = Instant::now();
        // Since when an earlier copy may still be written.
        let mut in_doubt: Option<Instant> = None;
        let mut is_repeated = false;
        loop {
            // A further copy has the time of the first one, and settles what became of it. An answer that it came too late would
            // not: the first one may have come in time.
            let age = if in_doubt.is_some() { began.elapsed() } else { Duration::ZERO };
            let batch = Batch::new(
                draft,
                rows,
                BatchPlace { tip: before, token, node: &self.node },
                respects_turns,
                &self.contexts,
                self.clock_limits.late_by(age),
            )?;
            let mut sent = None;
            let done = self.session.run(async |connection| {
                sent = Some(Instant::now());
                attempt(connection, &batch, before, side).await
            });
            let reason = match done {
                Ok(SendResult::Written) => return Ok(Some(batch)),
                Ok(SendResult::GateClosed(state)) => match state.verdict(&batch, before) {
                    Ok(NotWritten::Decided(AppendOutcome::Committed)) => return Ok(Some(batch)),
                    Ok(NotWritten::Decided(AppendOutcome::Moved)) => return Ok(None),
                    // An earlier copy may still be written.
                    Ok(NotWritten::Closed) if in_doubt.is_some() => "its place is free".to_owned(),
                    Ok(NotWritten::Closed) => return Ok(None),
                    // The clock of the database moves on, and with it the earlier copy may pass, or has passed; the next copy
                    // may be older.
                    Err(error @ (LogError::ClockAhead { .. } | LogError::ClockBehind { .. })) if in_doubt.is_some() => {
                        error.to_string()
                    }
                    Err(error) => return Err(error),
                },
                Err(error) => {
                    let lost = sent.filter(|_| is_about_connection(&error));
                    let error = EngineError::from(error);
                    if let Some(sent) = lost {
                        in_doubt.get_or_insert(sent);
                    } else if in_doubt.is_none() || error.kind == EngineErrorKind::Data {
                        // The database has refused it, as it refuses every other copy.
                        return Err(error.into());
                    }
                    error.to_string()
                }
            };
            if let Some(since) = in_doubt {
                // At once at first, and in any case: most lost connections can be opened again.
                if is_repeated {
                    if since.elapsed() >= DOUBT_MAX {
                        return Err(LogError::Commit(reason));
                    }
                    std::thread::sleep(DOUBT_PAUSE);
                }
                is_repeated = true;
                // The first copy may be at its place already, so that the others wait for this one.
                respects_turns = false;
            }
        }
    }

    /// Writes the side rows of a draft that has no event. Without a batch there is no gate and no token: others are kept from
    /// appending meanwhile, and an answer that is lost stays unknown.
    fn write_without_events(&mut self, draft: &Draft) -> Result<AppendOutcome, LogError> {
        let before = self.tip;
        if !(draft.side.is_empty() && draft.claims.is_empty() && draft.replies.is_empty()) {
            let statement = without_events(draft, before)?;
            let mut is_sent = false;
            let done = self.session.run(async |connection| {
                is_sent = true;
                write_locked(connection, &statement, &draft.side).await
            });
            match done {
                Ok(true) => return Ok(AppendOutcome::Committed),
                Ok(false) => {}
                Err(error) if is_sent && is_about_connection(&error) => {
                    return Err(LogError::Commit(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.compare_tip(draft.recorded_at.timestamp_micros())
    }

    /// Compares the log's last batch with the tip, and checks that the database would take a batch of this time from this user.
    fn compare_tip(&mut self, recorded_at: i64) -> Result<AppendOutcome, LogError> {
        let ours = self.tip;
        let row = self.session.run(async |connection| {
            let select = sqlx::query(TIP).bind(ours.first).bind(ours.last).bind(ours.token);
            select.fetch_one(connection).await
        })?;
        let last = Tip { first: row.try_get(0)?, last: row.try_get(1)?, token: row.try_get(2)? };
        let (is_ours, is_read_only, now): (bool, bool, i64) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let not_insertable: Option<String> = row.try_get(6)?;
        if !is_ours {
            return Err(LogError::Forked { ours: unsigned(ours.last), theirs: unsigned(last.last) });
        }
        if is_read_only {
            return Err(unavailable("the database can only be read: it is a standby, or was set so").into());
        }
        if let Some(tables) = not_insertable {
            return Err(unavailable(format!("this user may not insert into {tables}")).into());
        }
        self.clock_limits.check(recorded_at, now)?;
        Ok(if last == ours { AppendOutcome::Committed } else { AppendOutcome::Moved })
    }

    /// The writer and the engine follow the same log.
    pub(super) fn must_be_at(&self, position: u64) -> Result<(), LogError> {
        if signed(position) == self.tip.last {
            return Ok(());
        }
        let last = self.tip.last;
        Err(LogError::Append(format!("position {position} is not the end of the last batch that was read, {last}")))
    }
}

/// Sends one copy of a batch.
async fn attempt(
    connection: &mut PgConnection,
    batch: &Batch,
    before: Tip,
    side: &[SideRow],
) -> Result<SendResult, sqlx::Error> {
    let is_written = if side.is_empty() {
        !batch.statement.rows(&mut *connection).await?.is_empty()
    } else {
        write_with(&mut *connection, &batch.statement, side, None).await?
    };
    if is_written {
        return Ok(SendResult::Written);
    }
    let select = sqlx::query(STANDING).bind(batch.tip.first).bind(before.first).bind(before.last);
    let row = select.fetch_one(connection).await?;
    let (at_place, before) = (row.try_get(0)?, row.try_get(1)?);
    Ok(SendResult::GateClosed(GateState { at_place, before, head: row.try_get(2)?, now: row.try_get(3)? }))
}

async fn write_locked(
    connection: &mut PgConnection,
    statement: &Statement,
    side: &[SideRow],
) -> Result<bool, sqlx::Error> {
    write_with(connection, statement, side, Some(LOCK)).await
}

/// Runs a statement and, if its gate was open, writes the side rows in its transaction.
async fn write_with(
    connection: &mut PgConnection,
    statement: &Statement,
    side: &[SideRow],
    lock: Option<&'static str>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    if let Some(lock) = lock {
        sqlx::query(lock).execute(&mut *transaction).await?;
    }
    if statement.rows(&mut transaction).await?.is_empty() {
        transaction.rollback().await?;
        return Ok(false);
    }
    side::write(side, &mut transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

impl GateState {
    fn verdict(&self, batch: &Batch, before: Tip) -> Result<NotWritten, LogError> {
        match self.at_place {
            _ if self.before != Some(before.token) => {
                Err(LogError::Forked { ours: unsigned(before.last), theirs: unsigned(self.head) })
            }
            Some(token) if token == batch.tip.token => Ok(NotWritten::Decided(AppendOutcome::Committed)),
            Some(_) => Ok(NotWritten::Decided(AppendOutcome::Moved)),
            None => batch.clock_limits.check(batch.recorded_at, self.now).map(|()| NotWritten::Closed),
        }
    }
}

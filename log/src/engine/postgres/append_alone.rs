//! Appends of commands that need the ledger for themselves: while no node runs on it, and on what they have read alone. A node
//! that starts meanwhile waits, and finds what was appended.

use std::cell::Cell;
use std::time::Duration;

use events::ids::IdMaker;
use events::ledger::Emitted;
use events::time::from_micros;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::batch::{Batch, BatchPlace};
use super::clock_limits::ClockLimits;
use super::contexts::PostgresContexts;
use super::database::DatabaseAddress;
use super::error::is_about_connection;
use super::open::must_be_usable;
use super::read::{tip, unsigned};
use super::session::{LONG_MAX, Session};
use super::unusable::{UnusableReason, WrongLedger};
use super::{running_nodes, side};
use crate::draft::Draft;
use crate::facts::Facts;
use crate::{Append, Appended, Head, LogError, SideRow};

/// The database's clock: the command may run on any machine.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Appends a change to a shared ledger that no node uses, and whose last position is still `known_until`: the change may depend
/// on everything in it, so it needs no basis. All or nothing, and blocking. `node` names this process in the log.
///
/// Errors: nothing is recorded, except that with [`LogError::Commit`] this is unknown. [`UnusableReason::InUse`] if a node runs, and
/// [`UnusableReason::Changed`] if the log has grown.
pub fn append_alone(
    database: &DatabaseAddress,
    node: &str,
    ids: &IdMaker,
    change: Append,
    known_until: u64,
) -> Result<Appended, WrongLedger> {
    let wrong = |reason| WrongLedger::of(database, reason);
    // What was sealed is found by its key, whatever the database's statistics say.
    let mut session = Session::new(database.for_writer()).map_err(|error| wrong(error.into()))?;
    let is_committing = Cell::new(false);
    let appended = session.run_for(LONG_MAX, async |connection| {
        must_be_usable(connection, database).await?;
        let (tip, head) = tip(connection).await?;
        if head.position != known_until {
            return Err(UnusableReason::Changed);
        }
        // The time is the database's, or that of the last event, which may be long ago.
        let limits = ClockLimits::with_behind_max(Duration::MAX);
        let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut *connection).await?;
        let draft = draft_of(change, head, now);
        limits.check(draft.recorded_at.timestamp_micros(), now)?;
        let place = BatchPlace { tip, token: ids.make(), node };
        let batch = Batch::new(&draft, None, place, false, &PostgresContexts::default(), limits)?;
        write(connection, &batch, &draft.side, &is_committing).await?;
        Ok(Appended {
            first: unsigned(batch.tip.first),
            last: unsigned(batch.tip.last),
            recorded_at: draft.recorded_at,
        })
    });
    session.close();
    appended.map_err(|reason| match is_committing.get() {
        // The time was over before the database had answered.
        true => wrong(LogError::Commit(reason.to_string()).into()),
        false => wrong(reason),
    })
}

fn draft_of(change: Append, head: Head, now: i64) -> Draft {
    let Append { stream, expected_sequence, events, context, side, idempotency: _, basis: _ } = change;
    let mut draft = Draft::new(head.position, head.time_after(from_micros(now)));
    for (sequence, event) in (expected_sequence + 1..).zip(events) {
        let emitted = Emitted { stream: stream.clone(), context: context.clone(), event };
        draft.record(&mut Facts::default(), emitted, sequence);
    }
    draft.side = side;
    draft
}

/// `is_committing` is true while nobody knows whether the change is recorded.
async fn write(
    connection: &mut PgConnection,
    batch: &Batch,
    side: &[SideRow],
    is_committing: &Cell<bool>,
) -> Result<(), UnusableReason> {
    let mut transaction = connection.begin().await?;
    running_nodes::must_be_none(&mut transaction).await?;
    if batch.statement.rows(&mut transaction).await?.is_empty() {
        return Err(UnusableReason::Changed);
    }
    side::write(side, &mut transaction).await?;
    is_committing.set(true);
    let committed = transaction.commit().await;
    is_committing.set(false);
    committed.map_err(|error| match is_about_connection(&error) {
        true => LogError::Commit(error.to_string()).into(),
        false => error.into(),
    })
}

//! Which rows of the views changed, for the copy that analysts read. Triggers on the connection that writes the views note the
//! keys of changed and deleted rows, with the position of their batch, in tables of the same file: a row and its note are one
//! transaction. The copier reads the keys after the position that it has copied, and those rows as they are now.
//!
//! SQLite's update hook was rejected: it is not called for tables without a rowid, which most of the views' tables are. A column
//! with the position of the last change was rejected too: each would need an index, and deleted rows would need a trace.
//!
//! Notes are kept until the copy has passed them, and for [`EVENTS_KEPT`] events at most: a node that has not copied for so long,
//! or did not note changes for a while, copies whole views. So does a copy whose rows a rebuild has replaced. Nothing of this is
//! there unless changes are to be noted: no trigger, and in a new file no table.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Transaction, params};

use super::View;

const TABLES: &str = include_str!("touched/tables.sql");
const TRIM: &str = include_str!("touched/trim.sql");
pub(super) const EXISTS: &str = include_str!("touched/exists.sql");
const IS_COMPLETE: &str = include_str!("touched/complete.sql");
const BEGIN: &str = include_str!("touched/begin.sql");
const ADVANCE: &str = include_str!("touched/advance.sql");
const SWAPPED: &str = include_str!("touched/swapped.sql");

/// The most events whose changes are kept, however far the copy is behind.
const EVENTS_KEPT: u64 = 1_000_000;
/// The events before the copied position whose changes are kept: a database that crashed may have lost the last commits of the
/// copy, which does not wait for the disk.
const EVENTS_KEPT_OF_COPY: u64 = 100_000;
/// Changes are forgotten in steps of this many events.
const TRIM_STEP: u64 = 4096;

/// The position up to which a copy has the views. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CopiedPosition(Arc<AtomicU64>);

impl CopiedPosition {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub fn set(&self, position: u64) {
        self.0.store(position, Ordering::Release);
    }
}

/// The notes of a store.
pub(super) struct Tracker {
    copied: CopiedPosition,
    /// The last position of the batch that is being written, which the triggers read.
    batch_position: Arc<AtomicI64>,
    state: State,
    /// Up to which position notes were forgotten.
    trimmed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Rows that were written before are not noted. It begins once the views have caught up with the log: noting every row of
    /// views that are built from the beginning would be for nothing.
    Waiting,
    Noting,
}

impl Tracker {
    pub(super) fn new(copied: CopiedPosition) -> Self {
        Self { copied, batch_position: Arc::default(), state: State::Waiting, trimmed: 0 }
    }

    /// Continues on a connection that was just opened, if no change was missed.
    pub(super) fn resume(&mut self, connection: &Connection, current: &[View]) -> Result<(), rusqlite::Error> {
        self.state = State::Waiting;
        connection.execute_batch(TABLES)?;
        let position = Arc::clone(&self.batch_position);
        connection.create_scalar_function("batch_position", 0, FunctionFlags::SQLITE_UTF8, move |_| {
            Ok(position.load(Ordering::Relaxed))
        })?;
        if connection.query_row(IS_COMPLETE, [], |row| row.get(0))? {
            self.note(connection, current)?;
        }
        Ok(())
    }

    /// Begins to note changes, unless it does.
    pub(super) fn begin(
        &mut self,
        connection: &mut Connection,
        current: &[View],
        position: u64,
    ) -> Result<(), rusqlite::Error> {
        if self.state == State::Noting {
            return Ok(());
        }
        let transaction = connection.transaction()?;
        forget(&transaction, position)?;
        transaction.execute(BEGIN, [])?;
        transaction.commit()?;
        self.note(connection, current)
    }

    fn note(&mut self, connection: &Connection, views: &[View]) -> Result<(), rusqlite::Error> {
        views.iter().try_for_each(|view| connection.execute_batch(triggers(*view)))?;
        self.state = State::Noting;
        Ok(())
    }

    /// Says in which batch the next rows change.
    pub(super) fn begin_batch(&self, last: u64) {
        self.batch_position.store(i64::try_from(last).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Closes the notes of a batch, in its transaction, and forgets those that nobody needs.
    pub(super) fn end_batch(&mut self, transaction: &Transaction<'_>, last: u64) -> Result<(), rusqlite::Error> {
        if self.state == State::Waiting {
            return Ok(());
        }
        let copied = self.copied.get().saturating_sub(EVENTS_KEPT_OF_COPY);
        let unneeded = last.saturating_sub(EVENTS_KEPT).max(copied).min(last);
        if unneeded >= self.trimmed + TRIM_STEP {
            forget(transaction, unneeded)?;
            self.trimmed = unneeded;
        }
        transaction.prepare_cached(ADVANCE)?.execute([self.trimmed]).map(drop)
    }

    /// Notes changes of a view whose rows a rebuild has just replaced.
    pub(super) fn begin_view(&self, transaction: &Transaction<'_>, view: View) -> Result<(), rusqlite::Error> {
        if self.state == State::Waiting { Ok(()) } else { transaction.execute_batch(triggers(view)) }
    }
}

fn forget(transaction: &Transaction<'_>, until: u64) -> Result<(), rusqlite::Error> {
    TRIM.lines().try_for_each(|statement| transaction.prepare_cached(statement)?.execute([until]).map(drop))
}

/// The triggers on the tables of a view. The audit only appends rows, whose key is their position; so does `other_usage`.
const fn triggers(view: View) -> &'static str {
    match view {
        View::Budgets => include_str!("touched/budgets.sql"),
        View::UsageByHour => include_str!("touched/usage_by_hour.sql"),
        View::Inferences => include_str!("touched/inferences.sql"),
        View::Catalogue => include_str!("touched/catalogue.sql"),
        View::Audit => "",
    }
}

/// Says in the file that a rebuild has replaced the rows of a view, if anybody ever noted changes in it.
pub(super) fn note_swap(transaction: &Transaction<'_>, view: View) -> Result<(), rusqlite::Error> {
    if transaction.query_row(EXISTS, [], |row| row.get(0))? {
        transaction.execute(SWAPPED, params![view.as_str()])?;
    }
    Ok(())
}

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
use tokio::sync::watch;

use super::pool::Pool;
use super::store::{Compatibility, Store, StoreError};
use super::{Progress, View, ViewsHandle};

const TABLES: &str = include_str!("touched/tables.sql");
const TRIM: &str = include_str!("touched/trim.sql");
const EXISTS: &str = include_str!("touched/exists.sql");
const IS_COMPLETE: &str = include_str!("touched/complete.sql");
const BEGIN: &str = include_str!("touched/begin.sql");
const ADVANCE: &str = include_str!("touched/advance.sql");
const SWAPPED: &str = include_str!("touched/swapped.sql");
const READ: &str = include_str!("touched/read.sql");

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
    /// What the triggers read: the last position of the batch that is being written.
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
    fn resume(&mut self, connection: &Connection, current: &[View]) -> Result<(), rusqlite::Error> {
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
    fn begin(&mut self, connection: &mut Connection, current: &[View], position: u64) -> Result<(), rusqlite::Error> {
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

impl Store {
    /// Notes changes from now on if all were noted before; otherwise from [`Store::begin_tracking`] on.
    pub(super) fn track(&mut self, copied: CopiedPosition) -> Result<(), StoreError> {
        let mut tracker = Tracker::new(copied);
        tracker.resume(&self.connection, &self.current_views())?;
        self.tracker = Some(tracker);
        Ok(())
    }

    /// The same, after the file was created anew.
    pub(super) fn resume_tracking(&mut self) -> Result<(), StoreError> {
        let current = self.current_views();
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        Ok(tracker.resume(&self.connection, &current)?)
    }

    /// The views have caught up with the log, up to this position.
    pub(super) fn begin_tracking(&mut self, position: u64) -> Result<(), StoreError> {
        let current = self.current_views();
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        Ok(tracker.begin(&mut self.connection, &current, position)?)
    }

    fn current_views(&self) -> Vec<View> {
        self.views().into_iter().filter(|view| self.compatibility(*view) == Compatibility::Current).collect()
    }
}

/// A view in a snapshot, with what is known of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedView {
    pub view: View,
    /// The version of its rows.
    pub version: u32,
    pub position: u64,
    /// When the event at `position` was recorded, in microseconds since 1970; 0 at position 0.
    pub recorded_at_micros: i64,
    /// Which file the rows are in, and how often a rebuild has replaced them.
    pub rows: RowsId,
    /// The position after which all changes are noted.
    pub since: u64,
}

/// The rows of a view between two rebuilds, in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsId {
    pub file: String,
    pub swaps: i64,
}

/// Reads the views for a copy, each time as of one moment.
pub struct CopySource {
    pool: Arc<Pool>,
    open: Option<(u64, Connection)>,
}

/// The views as of one moment.
pub struct Snapshot<'c> {
    /// For the statements of the copy.
    pub connection: &'c Connection,
    /// The views of this version whose changes are noted. Others are not ready to be copied.
    pub views: Vec<TrackedView>,
}

impl CopySource {
    /// Whether there is a view that can be copied. Blocking.
    pub fn has_views(&mut self) -> Result<bool, rusqlite::Error> {
        self.read(|snapshot| Ok(!snapshot.views.is_empty()))
    }

    /// Reads in one read transaction. Blocking.
    pub fn read<T, E: From<rusqlite::Error>>(
        &mut self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (epoch, mut connection) = match self.open.take() {
            Some((epoch, connection)) if epoch == self.pool.epoch() => (epoch, connection),
            _ => self.pool.connect()?,
        };
        let transaction = connection.transaction()?;
        let views = tracked_views(&transaction)?;
        let done = read(&Snapshot { connection: &transaction, views })?;
        transaction.finish()?;
        self.open = Some((epoch, connection));
        Ok(done)
    }
}

fn tracked_views(connection: &Connection) -> Result<Vec<TrackedView>, rusqlite::Error> {
    if !connection.query_row(EXISTS, [], |row| row.get::<_, bool>(0))? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(READ)?;
    let (mut rows, mut views) = (statement.query([])?, Vec::new());
    while let Some(row) = rows.next()? {
        let (name, version): (String, u32) = (row.get(0)?, row.get(1)?);
        let known = View::ALL.iter().copied().find(|view| view.as_str() == name);
        let Some(view) = known.filter(|view| view.version() == version) else { continue };
        views.push(TrackedView {
            view,
            version,
            position: row.get(2)?,
            recorded_at_micros: row.get(3)?,
            rows: RowsId { file: row.get(4)?, swaps: row.get(5)? },
            since: row.get(6)?,
        });
    }
    Ok(views)
}

/// Tells when the views have changed.
pub struct ViewChanges {
    progress: watch::Receiver<Progress>,
    handle: ViewsHandle,
}

impl ViewChanges {
    /// Forgets the changes so far: the caller is about to read them.
    pub fn mark_seen(&mut self) {
        self.progress.borrow_and_update();
    }

    /// Waits until the views have changed since [`Self::mark_seen`]. Cancel-safe.
    pub async fn next(&mut self) {
        if self.progress.changed().await.is_err() {
            // The views have stopped: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }

    /// Lets the views write what they have without waiting for more.
    pub fn hurry(&self) {
        self.handle.inner.catch_up_requested.notify_one();
    }
}

impl ViewsHandle {
    /// A reader for a copy of the views.
    pub fn copy_source(&self) -> CopySource {
        CopySource { pool: Arc::clone(&self.inner.pool), open: None }
    }

    /// Tells when the views have changed.
    pub fn changes(&self) -> ViewChanges {
        // Views are published in their order, so the others have changed when the last one has.
        let last = self.inner.progress.last().map(|(_, progress)| progress.clone());
        let progress = last.unwrap_or_else(|| watch::channel(Progress::default()).1);
        ViewChanges { progress, handle: self.clone() }
    }
}

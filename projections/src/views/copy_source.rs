//! The source of a copy for analysts: the rows whose changes were noted ([`touched`](super::touched)), and when there is
//! something new.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::watch;

use super::pool::Pool;
use super::touched::EXISTS;
use super::{Progress, View, ViewsHandle};

const READ: &str = include_str!("touched/read.sql");

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
pub struct CopySnapshot<'c> {
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
        read: impl FnOnce(&CopySnapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (epoch, mut connection) = match self.open.take() {
            Some((epoch, connection)) if epoch == self.pool.epoch() => (epoch, connection),
            _ => self.pool.connect()?,
        };
        let transaction = connection.transaction()?;
        let views = tracked_views(&transaction)?;
        let done = read(&CopySnapshot { connection: &transaction, views })?;
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

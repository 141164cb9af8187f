//! Read-only connections to `DIR/views.db`, a few, used off the async threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use super::View;
use super::exact;
use super::store::{VIEWS_FILE, read_checkpoint};

/// Queries that run at a time.
const CONNECTIONS_MAX: usize = 4;
/// How long a query waits for a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a query may run.
const QUERY_MAX: Duration = Duration::from_secs(20);
/// Bytes of pages that a connection keeps, as SQLite counts: negative is KiB.
const CACHE_KIB: i64 = -8192;

/// The views cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    #[error("read the views: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("a stored value cannot be read: {0}")]
    Stored(#[from] serde_json::Error),
    #[error("every connection to the views is in use")]
    Busy,
    #[error("the query took longer than {} s", QUERY_MAX.as_secs())]
    TookTooLong,
    #[error("the query was lost")]
    Lost,
    #[error("the view {} is being built anew", .0.as_str())]
    Rebuilding(View),
}

/// Rows and the log position that they reflect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    pub position: u64,
    pub value: T,
}

pub struct Pool {
    path: PathBuf,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    idle: Mutex<Vec<(u64, Connection)>>,
    /// Rises when the file is replaced: connections to the one before are of no use.
    epoch: Arc<AtomicU64>,
}

impl Pool {
    pub fn new(dir: &Path, epoch: Arc<AtomicU64>) -> Self {
        Self {
            path: dir.join(VIEWS_FILE),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            shared: Arc::new(Shared { idle: Mutex::default(), epoch }),
        }
    }

    /// Runs `work` in one read transaction, so that rows and position belong together.
    pub async fn read<T: Send + 'static>(
        &self,
        view: View,
        work: impl FnOnce(&Connection) -> Result<T, ViewsError> + Send + 'static,
    ) -> Result<AsOf<T>, ViewsError> {
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| ViewsError::Busy)?.map_err(|_| ViewsError::Lost)?;
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        let running = Running::default();
        let shown = Running(Arc::clone(&running.0));
        let query = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let (epoch, mut connection) = shared.take(&path)?;
            shown.begins(connection.get_interrupt_handle());
            let answer = in_transaction(&mut connection, view, work);
            shown.ends();
            if answer.is_ok() {
                shared.put_back(epoch, connection);
            }
            answer
        });
        let _interrupted_when_dropped = InterruptWhenDropped(running);
        match tokio::time::timeout(QUERY_MAX, query).await {
            Ok(answer) => answer.map_err(|_| ViewsError::Lost)?,
            Err(_) => Err(ViewsError::TookTooLong),
        }
    }
}

/// The query that runs on a connection; `None` before and after it, when an interrupt would hit somebody else's.
#[derive(Default)]
struct Running(Arc<Mutex<Option<InterruptHandle>>>);

impl Running {
    fn begins(&self, handle: InterruptHandle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A query that nobody waits for any more gives its connection back.
struct InterruptWhenDropped(Running);

impl Drop for InterruptWhenDropped {
    fn drop(&mut self) {
        if let Some(handle) = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            handle.interrupt();
        }
    }
}

impl Shared {
    fn take(&self, path: &Path) -> Result<(u64, Connection), ViewsError> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(opened_at, _)| *opened_at == epoch);
        if let Some(connection) = idle.pop() {
            return Ok(connection);
        }
        drop(idle);
        Ok((epoch, connect(path)?))
    }

    fn put_back(&self, epoch: u64, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((epoch, connection));
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    exact::register(&connection)?;
    Ok(connection)
}

fn in_transaction<T>(
    connection: &mut Connection,
    view: View,
    work: impl FnOnce(&Connection) -> Result<T, ViewsError>,
) -> Result<AsOf<T>, ViewsError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let position = read_checkpoint(&transaction, view)?.unwrap_or_default().position;
    let value = work(&transaction)?;
    transaction.finish()?;
    Ok(AsOf { position, value })
}

//! The pool of read-only connections to `DIR/views.db`, or to another file with views. They are used off the async threads, with a permit.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use events_log::concurrency::QueryPermit;
use events_log::interrupt::Interrupt;
use events_log::interruptible;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::exact;
use super::store::{VIEWS_FILE, read_checkpoint};
use super::{Behind, Question, ViewsError};

/// The page cache of a connection, as SQLite counts: negative is KiB.
const CACHE_KIB: i64 = -8192;
/// That of a connection to views as of an earlier position, of which there are several files.
const CACHE_OF_FILE_KIB: i64 = -1024;

/// Rows and the log position that they reflect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    pub position: u64,
    pub value: T,
}

pub struct Pool {
    path: PathBuf,
    /// Connections that are not in use: at most as many as there are permits.
    idle: Mutex<Vec<(u64, Connection)>>,
    /// Incremented when the file is replaced: connections to the old file are then dropped.
    epoch: Arc<AtomicU64>,
    cache_kib: i64,
}

impl Pool {
    pub fn new(dir: &Path, epoch: Arc<AtomicU64>) -> Self {
        Self { path: dir.join(VIEWS_FILE), idle: Mutex::default(), epoch, cache_kib: CACHE_KIB }
    }

    /// The pool of a file with views that nobody writes to any more.
    pub fn of_file(path: &Path) -> Self {
        let epoch = Arc::default();
        Self { path: path.to_owned(), idle: Mutex::default(), epoch, cache_kib: CACHE_OF_FILE_KIB }
    }

    /// Answers a question in one read transaction, so that rows and position belong together. It is interrupted at the
    /// permit's deadline, and soon after the caller stops waiting.
    /// Errors: the views are not all at one position.
    pub async fn ask<Q: Question>(
        self: &Arc<Self>,
        permit: &QueryPermit,
        question: Q,
    ) -> Result<AsOf<Q::Answer>, ViewsError> {
        let pool = Arc::clone(self);
        let interrupt = Interrupt::new(Some(permit.deadline().into_std()));
        let _guard = interrupt.interrupt_on_drop();
        let read = permit.run(move || pool.answer(question, &interrupt));
        // If the disk hangs, SQLite does not check the interrupt.
        match tokio::time::timeout_at(permit.deadline(), read).await {
            Ok(read) => read.map_err(|_| ViewsError::Lost)?,
            Err(_) => Err(ViewsError::TookTooLong),
        }
    }

    fn answer<Q: Question>(&self, question: Q, interrupt: &Interrupt) -> Result<AsOf<Q::Answer>, ViewsError> {
        if interrupt.is_due() {
            return Err(ViewsError::Lost);
        }
        let (epoch, mut connection) = self.take()?;
        let answer = in_transaction(&mut connection, question, interrupt);
        if answer.is_ok() {
            self.put_back(epoch, connection);
        }
        if interrupt.is_late() { answer.map_err(|_| ViewsError::TookTooLong) } else { answer }
    }

    /// A connection that is not shared, with the epoch of the file that it is to.
    pub fn connect(&self) -> Result<(u64, Connection), rusqlite::Error> {
        let epoch = self.epoch();
        Ok((epoch, connect(&self.path, self.cache_kib)?))
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn take(&self) -> Result<(u64, Connection), ViewsError> {
        let epoch = self.epoch();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(opened_at, _)| *opened_at == epoch);
        if let Some(connection) = idle.pop() {
            return Ok(connection);
        }
        drop(idle);
        Ok((epoch, connect(&self.path, self.cache_kib)?))
    }

    fn put_back(&self, epoch: u64, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((epoch, connection));
    }
}

fn connect(path: &Path, cache_kib: i64) -> Result<Connection, rusqlite::Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "cache_size", cache_kib)?;
    exact::register(&connection)?;
    Ok(connection)
}

fn in_transaction<Q: Question>(
    connection: &mut Connection,
    question: Q,
    interrupt: &Interrupt,
) -> Result<AsOf<Q::Answer>, ViewsError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let mut positions = Vec::with_capacity(question.views().len());
    for view in question.views() {
        positions.push((read_checkpoint(&transaction, *view)?.unwrap_or_default().position, *view));
    }
    let position = positions.iter().map(|(position, _)| *position).max().unwrap_or(0);
    if let Some((behind, view)) = positions.into_iter().find(|(reached, _)| *reached < position) {
        return Err(Behind { view, position: behind, wanted: position }.into());
    }
    let value = interruptible(&transaction, interrupt, || question.answer(&transaction))?;
    transaction.finish()?;
    Ok(AsOf { position, value })
}

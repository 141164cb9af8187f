//! Checkpoints: committed pages move from the write-ahead log into the database file. A checkpoint of 16 MiB takes tens of
//! milliseconds, and no request should wait for it, so a thread does most of it while the writer goes on. The writer then
//! moves the pages appended meanwhile, between two batches and in well under a millisecond, so that its next transaction can
//! restart the log. Without that last step the log would grow as long as there is load.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::{EngineError, EngineErrorKind, LogError};

/// Estimated number of pages after which a checkpoint starts: 16 MiB.
const PAGES_BETWEEN: u64 = 4096;
/// Estimated index, balance and hold pages of a transaction. Each event adds one page.
const PAGES_A_BATCH: u64 = 6;
/// Passes of the thread. Each one moves the pages appended during the one before, so little is left after the last.
const PASSES: u32 = 3;
/// The interval at which the thread checks for work without being woken.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long the thread waits for the writer and for readers, so that it can empty the write-ahead log after an erasure. The writer
/// waits meanwhile, so that it tries once a second at most.
const EMPTYING_MAX: Duration = Duration::from_millis(5);
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const FINISH: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

const IDLE: u8 = 0;
const WANTED: u8 = 1;
/// Most pages are moved; the writer moves the rest.
const NEARLY_DONE: u8 = 2;

/// The writer's handle of the checkpoint thread.
pub(super) struct Checkpointer {
    signal: Arc<CheckpointSignal>,
    thread: Option<JoinHandle<()>>,
    pages: u64,
}

#[derive(Default)]
struct CheckpointSignal {
    stage: AtomicU8,
    stops: AtomicBool,
    /// The write-ahead log may have what was erased.
    has_erased: AtomicBool,
}

impl Checkpointer {
    pub(super) fn start(ledger: &Path) -> std::io::Result<Self> {
        let signal = Arc::<CheckpointSignal>::default();
        let (ledger, theirs) = (ledger.to_owned(), Arc::clone(&signal));
        let thread =
            std::thread::Builder::new().name("ledger-checkpoint".to_owned()).spawn(move || work(&ledger, &theirs))?;
        Ok(Self { signal, thread: Some(thread), pages: 0 })
    }

    /// A checkpointer that moves nothing by itself, for simulations.
    pub(super) fn without_thread() -> Self {
        Self { signal: Arc::default(), thread: None, pages: 0 }
    }

    /// Called when personal data was erased. Pages of the write-ahead log have it until the thread has emptied the log.
    pub(super) fn after_erasure(&self) {
        self.signal.has_erased.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Called after each commit, on the writer's connection.
    pub(super) fn after_commit(&mut self, connection: &Connection, events: usize) {
        self.pages += PAGES_A_BATCH + events as u64;
        match self.signal.stage.load(Ordering::Acquire) {
            IDLE if self.pages >= PAGES_BETWEEN => {
                self.signal.stage.store(WANTED, Ordering::Release);
                if let Some(thread) = &self.thread {
                    thread.thread().unpark();
                }
            }
            NEARLY_DONE => {
                pass(connection);
                self.pages = 0;
                self.signal.stage.store(IDLE, Ordering::Release);
            }
            _ => {}
        }
    }
}

impl Drop for Checkpointer {
    /// Stops the thread before the writer's connection closes, which moves the remaining pages.
    fn drop(&mut self) {
        self.signal.stops.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn work(ledger: &Path, signal: &CheckpointSignal) {
    let mut connection = None;
    while !signal.stops.load(Ordering::Acquire) {
        std::thread::park_timeout(POLL_EVERY);
        let is_wanted = signal.stage.load(Ordering::Acquire) == WANTED;
        let has_erased = signal.has_erased.swap(false, Ordering::AcqRel);
        if !is_wanted && !has_erased {
            continue;
        }
        if connection.is_none() {
            connection = open(ledger)
                .inspect_err(|error| tracing::error!(%error, "cannot open the ledger for checkpoints"))
                .ok();
        }
        if is_wanted {
            if let Some(connection) = &connection {
                (0..PASSES).for_each(|_| pass(connection));
            }
            // Even after a failure: the writer then makes an attempt itself, and the next round starts afresh.
            signal.stage.store(NEARLY_DONE, Ordering::Release);
        }
        if has_erased && !connection.as_ref().is_some_and(is_emptied) {
            signal.has_erased.store(true, Ordering::Release);
        }
    }
}

fn open(ledger: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(ledger)?;
    connection.busy_timeout(EMPTYING_MAX)?;
    Ok(connection)
}

/// Empties the write-ahead log. False while somebody reads from it, or if it fails: it is tried again.
fn is_emptied(connection: &Connection) -> bool {
    // Most of it first, which delays nobody.
    pass(connection);
    match connection.query_row(FINISH, [], is_busy) {
        Ok(is_busy) => !is_busy,
        Err(error) => {
            tracing::debug!(%error, "cannot empty the write-ahead log after an erasure: trying again");
            false
        }
    }
}

/// Moves everything into the database file after the last write, so that a copy of this file is a copy of the ledger. While
/// somebody still reads, the write-ahead log remains; it is durable too.
pub(super) fn finish(connection: &Connection) {
    match connection.query_row(FINISH, [], is_busy) {
        Ok(false) => {}
        Ok(true) => tracing::info!("somebody reads the ledger: its write-ahead log remains"),
        Err(error) => tracing::warn!(%error, "cannot move the write-ahead log into the ledger"),
    }
}

/// The same for a database file that is about to be moved without the files beside it.
///
/// Errors: something is left in the write-ahead log, because it cannot be moved or somebody reads.
pub(super) fn finish_all(connection: &Connection) -> Result<(), LogError> {
    if connection.query_row(FINISH, [], is_busy)? {
        let message = "the write-ahead log cannot be moved into the ledger while somebody reads it".to_owned();
        return Err(EngineError { kind: EngineErrorKind::Unavailable, message }.into());
    }
    Ok(())
}

/// Whether a checkpoint that should have moved everything could not, by its answer.
fn is_busy(answer: &rusqlite::Row<'_>) -> rusqlite::Result<bool> {
    answer.get(0)
}

/// Moves the pages that can be moved without blocking anybody. The others stay in the write-ahead log, which is durable.
fn pass(connection: &Connection) {
    let moved = connection.prepare_cached(CHECKPOINT).and_then(|mut statement| statement.query_row([], |_| Ok(())));
    if let Err(error) = moved {
        tracing::warn!(%error, "cannot checkpoint the ledger");
    }
}

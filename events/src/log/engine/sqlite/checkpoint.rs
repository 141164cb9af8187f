//! Moving committed pages from the write-ahead log into the database file, off the writer's thread: a checkpoint of
//! 16 MiB takes tens of milliseconds, and no request should wait for it. The thread does the bulk while the writer goes
//! on; what was appended meanwhile the writer then moves itself between two batches, in well under a millisecond, so that
//! its next transaction can begin the log anew. Without that last step the log would grow for as long as there is load.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

/// Pages, by estimate, after which a checkpoint is asked for: 16 MiB.
const PAGES_BETWEEN: u64 = 4096;
/// Index, balance and hold pages of a transaction; each event adds its own.
const PAGES_A_BATCH: u64 = 6;
/// Passes after which what is left is small: each one moves what was appended during the one before.
const PASSES: u32 = 3;
/// A thread that was not woken looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const FINISH: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

const IDLE: u8 = 0;
const WANTED: u8 = 1;
/// The bulk is moved: the writer does the rest.
const NEARLY_DONE: u8 = 2;

/// The writer's hold on the thread.
pub(super) struct Checkpointer {
    shared: Arc<CheckpointSignal>,
    thread: Option<JoinHandle<()>>,
    pages: u64,
}

#[derive(Default)]
struct CheckpointSignal {
    stage: AtomicU8,
    stops: AtomicBool,
}

impl Checkpointer {
    pub(super) fn start(ledger: &Path) -> std::io::Result<Self> {
        let shared = Arc::<CheckpointSignal>::default();
        let (ledger, theirs) = (ledger.to_owned(), Arc::clone(&shared));
        let thread =
            std::thread::Builder::new().name("ledger-checkpoint".to_owned()).spawn(move || work(&ledger, &theirs))?;
        Ok(Self { shared, thread: Some(thread), pages: 0 })
    }

    /// Without a thread: nothing is moved but what the holder moves by hand.
    pub(super) fn at_rest() -> Self {
        Self { shared: Arc::default(), thread: None, pages: 0 }
    }

    /// After a commit of so many events, on the writer's connection.
    pub(super) fn after_commit(&mut self, connection: &Connection, events: usize) {
        self.pages += PAGES_A_BATCH + events as u64;
        match self.shared.stage.load(Ordering::Acquire) {
            IDLE if self.pages >= PAGES_BETWEEN => {
                self.shared.stage.store(WANTED, Ordering::Release);
                if let Some(thread) = &self.thread {
                    thread.thread().unpark();
                }
            }
            NEARLY_DONE => {
                pass(connection);
                self.pages = 0;
                self.shared.stage.store(IDLE, Ordering::Release);
            }
            _ => {}
        }
    }
}

impl Drop for Checkpointer {
    /// Before the writer's own connection closes, which moves what is left.
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn work(ledger: &Path, shared: &CheckpointSignal) {
    let mut connection = None;
    while !shared.stops.load(Ordering::Acquire) {
        std::thread::park_timeout(LOOK_EVERY);
        if shared.stage.load(Ordering::Acquire) != WANTED {
            continue;
        }
        if connection.is_none() {
            connection = Connection::open(ledger)
                .inspect_err(|error| tracing::error!(%error, "open the ledger to checkpoint it"))
                .ok();
        }
        if let Some(connection) = &connection {
            (0..PASSES).for_each(|_| pass(connection));
        }
        // Also where it failed: the writer then tries by itself, and the next round begins anew.
        shared.stage.store(NEARLY_DONE, Ordering::Release);
    }
}

/// When nothing more is written: everything into the database file, so that a copy of this one file is a copy of the
/// ledger. Where somebody still reads it stays beside it, durable all the same.
pub(super) fn finish(connection: &Connection) {
    if let Err(error) = connection.query_row(FINISH, [], |_| Ok(())) {
        tracing::warn!(%error, "move the ledger into one file");
    }
}

/// Moves what can be moved without anybody waiting. What cannot stays where it is, durable.
fn pass(connection: &Connection) {
    let moved = connection.prepare_cached(CHECKPOINT).and_then(|mut statement| statement.query_row([], |_| Ok(())));
    if let Err(error) = moved {
        tracing::warn!(%error, "checkpoint the ledger");
    }
}

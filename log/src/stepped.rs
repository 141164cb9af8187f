//! A log whose writer runs only in calls of [`Stepped::step`], on the caller's thread: the same queue, writer and database
//! without their threads. For simulations, which control when a batch is taken, what the disk returns and when the process
//! dies.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use events::ids::{IdMaker, SystemRandom};
use events::ledger::{Balances, Ending};

use super::engine::Engine;
use super::engine::postgres::{self, Announcements, DatabaseAddress, OwnNode, PostgresEngine};
use super::engine::sqlite::{self, SqliteEngine};
use super::jobs::{EndRequest, Message};
use super::lock::FolderLock;
use super::open::{Parts, assemble};
use super::writer::LogWriter;
use super::{Log, LogOptions, OpenError};

/// The writer of a [`Log`] from [`Stepped::open`]. Dropping it simulates a writer that has died.
#[doc(hidden)]
pub struct Stepped<E = SqliteEngine> {
    writer: LogWriter<E>,
    queue: Receiver<Message>,
    _lock: Option<FolderLock>,
}

impl Stepped {
    /// Opens or creates the log in a folder. Nothing is written until [`Stepped::step`].
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Log, Self), OpenError> {
        let opened = sqlite::open_without_threads(dir, options.clock.now())?;
        let Parts { inner, writer, queue, lock } = assemble(opened, options);
        Ok((Log { inner: Arc::new(inner) }, Self { writer, queue, _lock: lock }))
    }

    /// The engine of the writer.
    pub const fn engine(&self) -> &SqliteEngine {
        &self.writer.engine
    }
}

/// The writer of a node of a shared ledger.
#[doc(hidden)]
pub type SteppedNode = Stepped<PostgresEngine>;

impl SteppedNode {
    /// See [`Log::open_shared`]. Nothing is written until [`Stepped::step`], and nobody is woken by what others write.
    pub fn open_shared(database: &DatabaseAddress, node: &str, options: LogOptions) -> Result<(Log, Self), OpenError> {
        let ids = IdMaker::new(Arc::clone(&options.clock), Arc::new(SystemRandom));
        let own = OwnNode { id: node.to_owned(), serves_requests: true, limit_sharing: options.limit_sharing.clone() };
        let opened = postgres::open(database, &own, ids, Announcements::default(), &options)?;
        let Parts { inner, writer, queue, lock } = assemble(opened, options);
        Ok((Log { inner: Arc::new(inner) }, Self { writer, queue, _lock: lock }))
    }
}

#[expect(private_bounds, reason = "only the log has engines")]
impl<E: Engine> Stepped<E> {
    /// Runs the writer once, with at most `jobs_max` queued jobs. Returns true if one of them told it to stop.
    pub fn step(&mut self, jobs_max: usize) -> bool {
        let fresh = self.queue.try_iter().take(jobs_max).collect();
        self.writer.run_once(fresh)
    }

    /// Runs the writer until it is told to stop, as its thread does.
    pub fn run(self) {
        let Self { writer, queue, _lock } = self;
        writer.run(&queue);
    }

    /// Queues an end again, like a retry whose first answer was lost.
    pub fn repeat(&self, ending: Ending) {
        self.writer.ender.unattended.extend([EndRequest::of(ending)]);
    }

    /// The balances in the writer's memory.
    pub fn balances(&self) -> &Balances {
        &self.writer.balances
    }
}

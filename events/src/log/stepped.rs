//! A log whose writer works only when it is told to, on the caller's thread: the same queue, writer and database, without
//! the threads around them. For simulations, which have to say when a batch is taken, what the disk answers and at which
//! instant everything dies.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::engine::sqlite::{self, SqliteEngine};
use super::jobs::Message;
use super::lock::FolderLock;
use super::open::{Parts, assemble};
use super::writer::Writer;
use super::{Log, LogOptions, OpenError};
use crate::ledger::{Balances, Ending};

/// The writer of a [`Log`] that [`Stepped::open`] gave. Dropped, it is a writer that has died.
#[doc(hidden)]
pub struct Stepped {
    writer: Writer<SqliteEngine>,
    queue: Receiver<Message>,
    _lock: FolderLock,
}

impl Stepped {
    /// Opens or creates the log in a folder. Nothing is written until [`Stepped::step`].
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Log, Self), OpenError> {
        let opened = sqlite::open_at_rest(dir, options.clock.now())?;
        let Parts { shared, writer, queue, lock } = assemble(opened, options);
        Ok((Log { shared: Arc::new(shared) }, Self { writer, queue, _lock: lock }))
    }

    /// One turn of the writer with at most so many of the queued jobs. Whether one of them told it to stop.
    pub fn step(&mut self, jobs_max: usize) -> bool {
        let fresh = self.queue.try_iter().take(jobs_max).collect();
        self.writer.turn(fresh)
    }

    /// Leaves an end that came before, as a retry does whose first answer was lost.
    pub fn repeat(&self, ending: Ending) {
        self.writer.ender().unattended.extend([ending]);
    }

    /// What the writer has in memory.
    pub fn balances(&self) -> &Balances {
        self.writer.balances()
    }

    /// What the writer writes with.
    pub const fn engine(&self) -> &SqliteEngine {
        self.writer.engine()
    }
}

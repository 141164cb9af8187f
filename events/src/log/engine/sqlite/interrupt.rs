//! Ends what runs on a connection once nobody waits for it any more, or once it has run for too long.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rusqlite::Connection;

/// Instructions of SQLite's virtual machine between two looks: tens of microseconds.
const LOOKS_EVERY: c_int = 1_000;

/// Whether to go on. An interrupt handle of SQLite would not do: it ends the statement that runs at that moment, and where
/// it comes between two, nothing.
#[derive(Clone)]
pub struct Interrupt {
    is_unwanted: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Of whoever waits; dropped, it ends what runs.
pub struct EndsWhenDropped(Arc<AtomicBool>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt {
    pub fn new(deadline: Option<Instant>) -> Self {
        Self { is_unwanted: Arc::default(), deadline }
    }

    pub fn when_dropped(&self) -> EndsWhenDropped {
        EndsWhenDropped(Arc::clone(&self.is_unwanted))
    }

    /// Whether it has run for too long.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    pub fn is_due(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed) || self.is_late()
    }

    /// Statements that run meanwhile fail as interrupted once it is due.
    pub fn watch<T>(&self, connection: &Connection, work: impl FnOnce() -> T) -> T {
        let interrupt = self.clone();
        connection.progress_handler(LOOKS_EVERY, Some(move || interrupt.is_due()));
        let worked = work();
        connection.progress_handler(0, None::<fn() -> bool>);
        worked
    }
}

//! What the writer has done so far, for metrics and benchmarks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchFigures {
    /// Committed transactions, each with one fsync.
    pub batches: u64,
    pub jobs: u64,
    pub events: u64,
    /// Sum over all batches, from the first statement to the commit's return, in microseconds.
    pub commit_micros: u64,
}

/// The same while it grows.
#[derive(Default)]
pub struct Figures {
    batches: AtomicU64,
    jobs: AtomicU64,
    events: AtomicU64,
    commit_micros: AtomicU64,
    is_failing: AtomicBool,
}

impl Figures {
    /// Whether the writer could last write.
    pub(in crate::log) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Relaxed);
    }

    pub(in crate::log) fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }

    pub(super) fn count(&self, jobs: usize, events: usize, took: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.jobs.fetch_add(jobs as u64, Relaxed);
        self.events.fetch_add(events as u64, Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(in crate::log) fn read(&self) -> BatchFigures {
        BatchFigures {
            batches: self.batches.load(Relaxed),
            jobs: self.jobs.load(Relaxed),
            events: self.events.load(Relaxed),
            commit_micros: self.commit_micros.load(Relaxed),
        }
    }
}

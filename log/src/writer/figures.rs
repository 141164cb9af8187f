//! Counters of the writer, for metrics and benchmarks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ledger::Balances;
use tokio::sync::Notify;

/// Upper bounds of the buckets of commit durations, in microseconds. The last bucket has none.
pub const COMMIT_MICROS_BOUNDS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchFigures {
    /// Committed transactions, each with one fsync.
    pub batches: u64,
    /// Transactions that failed. Their jobs were answered with an error.
    pub failed_batches: u64,
    /// How often a batch was decided again, because another process had appended first.
    pub decided_again: u64,
    pub jobs: u64,
    pub events: u64,
    /// The total duration of all batches, in microseconds. A batch lasts from the look-up of its facts until it
    /// is durable.
    pub commit_micros: u64,
    /// Batches by duration: one bucket for each of [`COMMIT_MICROS_BOUNDS`], and one for longer ones.
    pub commits_by_duration: [u64; COMMIT_MICROS_BOUNDS.len() + 1],
    /// Jobs in the queue.
    pub queued: u64,
    pub open_holds: u64,
    /// The admission time of the oldest open hold.
    pub oldest_hold: Option<DateTime<Utc>>,
}

/// The live counters behind [`BatchFigures`].
#[derive(Default)]
pub struct WriterFigures {
    /// All but `queued`. Changed by the writer alone, a few times a batch.
    of_batches: Mutex<BatchFigures>,
    sent: AtomicU64,
    taken: AtomicU64,
    is_failing: AtomicBool,
    head: HeadFigures,
    /// The last change of administration was recorded at this time or later, by the monotonic clock: the last check before that did
    /// not find it.
    last_change_not_before_micros: AtomicU64,
}

/// When and how often the writer has found out where the log ends.
#[derive(Default)]
struct HeadFigures {
    /// When it last knew, by the monotonic clock.
    confirmed_micros: AtomicU64,
    checks_begun: AtomicU64,
    /// The number of the last check that succeeded.
    checks_ended: AtomicU64,
    checked: Notify,
}

/// One time that the writer finds out where the log ends.
#[derive(Clone, Copy)]
pub(super) struct HeadCheck {
    number: u64,
    /// The start by the monotonic clock. The log ended where it was found to end at this time or later, however late the answer came.
    began: Duration,
}

impl WriterFigures {
    /// Sets whether the writer's last attempt to write failed.
    pub(crate) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Relaxed);
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }

    /// Notes when the writer knew where the log ends, by the monotonic clock.
    pub(super) fn confirm_head(&self, at: Duration) {
        self.head.confirmed_micros.store(u64::try_from(at.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn begin_head_check(&self, now: Duration) -> HeadCheck {
        HeadCheck { number: self.head.checks_begun.fetch_add(1, SeqCst) + 1, began: now }
    }

    /// Notes that it has succeeded.
    pub(super) fn end_head_check(&self, check: HeadCheck) {
        self.head.checks_ended.store(check.number, SeqCst);
        self.confirm_head(check.began);
        self.head.checked.notify_waiters();
    }

    /// Waits until a check that begins after the call has succeeded.
    pub(crate) async fn head_checked(&self) {
        let begun = self.head_checks_begun();
        loop {
            let checked = self.head.checked.notified();
            if self.has_checked_head_after(begun) {
                return;
            }
            checked.await;
        }
    }

    /// How many checks have begun.
    pub(crate) fn head_checks_begun(&self) -> u64 {
        self.head.checks_begun.load(SeqCst)
    }

    /// True if a check that began after so many others has ended.
    pub(crate) fn has_checked_head_after(&self, begun: u64) -> bool {
        self.head.checks_ended.load(SeqCst) > begun
    }

    pub(crate) fn head_confirmed_at(&self) -> Duration {
        Duration::from_micros(self.head.confirmed_micros.load(Relaxed))
    }

    /// Notes that the writer has just found a change of administration, or recorded one.
    pub(super) fn note_change(&self) {
        self.last_change_not_before_micros.store(self.head.confirmed_micros.load(Relaxed), Relaxed);
    }

    /// The last change of administration was recorded at this time or later, by the monotonic clock.
    pub(crate) fn last_change_not_before(&self) -> Duration {
        Duration::from_micros(self.last_change_not_before_micros.load(Relaxed))
    }

    /// Counts a job that was queued.
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(crate) fn taken(&self, jobs: usize) {
        self.taken.fetch_add(jobs as u64, Relaxed);
    }

    pub(super) fn count(&self, jobs: usize, events: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut figures = self.of_batches();
        figures.batches += 1;
        figures.jobs += jobs as u64;
        figures.events += events as u64;
        figures.commit_micros += micros;
        figures.commits_by_duration[COMMIT_MICROS_BOUNDS.partition_point(|bound| *bound < micros)] += 1;
    }

    pub(super) fn count_failed(&self) {
        self.of_batches().failed_batches += 1;
    }

    pub(super) fn count_decided_again(&self) {
        self.of_batches().decided_again += 1;
    }

    /// Updates the figures of the open holds.
    pub(super) fn show_holds(&self, balances: &Balances) {
        let mut figures = self.of_batches();
        (figures.open_holds, figures.oldest_hold) = (balances.open_holds().len() as u64, balances.oldest_hold());
    }

    pub(crate) fn read(&self) -> BatchFigures {
        // Read `taken` first: jobs queued between the two reads must not make the length negative.
        let taken = self.taken.load(Relaxed);
        BatchFigures { queued: self.sent.load(Relaxed).saturating_sub(taken), ..*self.of_batches() }
    }

    fn of_batches(&self) -> MutexGuard<'_, BatchFigures> {
        self.of_batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_in_the_first_bucket_that_it_fits() {
        let figures = WriterFigures::default();
        for micros in [1, 100, 101, 20_000_000] {
            figures.count(2, 4, Duration::from_micros(micros));
        }
        let read = figures.read();
        assert_eq!((read.batches, read.jobs, read.events, read.commit_micros), (4, 8, 16, 20_000_202));
        assert_eq!(read.commits_by_duration, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}

//! `access.*` and `admin.rejected`: the record of requests that were refused at the door or by a rule of administration, and of
//! reads; rolled up so that a flood of requests cannot flood the log. The first of a (caller, reason, second) is recorded at
//! once, the others of that second as one event with `count` when the second is over; reads alike, by minute. Counting never
//! waits; what cannot be recorded yet is kept as numbers, and nothing is recorded twice: if it is unknown whether it was
//! recorded, it is given up.
//!
//! Reads have a queue and a task of their own: what is counted on the inference path waits for none of their locks. The first
//! one is recorded a moment later, so that a program that reads the log to its end comes to an end, and not to its own read.

mod tally;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::event::access::{ChangeMethod, ReadKind};
use events::event::{Actor, Context, StreamKind};
use events::limit::{LimitName, LimitedMeasure};
use events::refusal::ErrorCode;
use events::time::Clock;
use events_log::Log;
use events_log::backoff::Backoff;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use tally::{Reason, TalliedRequest, Tally};

/// The most events of one append.
const NOTES_PER_APPEND: usize = 256;
/// The pauses between attempts. They begin anew once something was recorded.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Attempts to record the rest after `close`.
const CLOSING_ATTEMPTS_MAX: u32 = 5;
/// How long `close` waits for the log to record the rest.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long the first read of a minute waits to be recorded: longer than a client takes for the next page. What a `kill -9` loses
/// of first reads.
const READ_DELAY: Duration = Duration::from_secs(2);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Counts refusals and reads, and records them. Two tasks write; they end with [`AccessRollup::close`], or when this is
/// dropped.
pub struct AccessRollup {
    refusals: Arc<RollupQueue>,
    reads: Arc<RollupQueue>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A change by administration that a rule refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedChange {
    pub code: ErrorCode,
    pub method: ChangeMethod,
    /// The kind of the resource that the path names.
    pub resource: StreamKind,
    /// The resource, if the caller reaches it. Then the context has its owners.
    pub resource_id: Option<String>,
}

struct RollupQueue {
    /// The kind of requests that is counted, for the process's log.
    what: &'static str,
    /// The seconds of a window.
    window: i64,
    /// How long the first request of a window waits to be recorded.
    delay: Duration,
    tally: Mutex<Tally>,
    clock: Arc<dyn Clock>,
    /// Notified when something can be recorded at once.
    due: Notify,
}

impl AccessRollup {
    /// Starts the writing tasks. Must be called inside a runtime.
    pub fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        let queue = |what, window, delay| {
            let clock = Arc::clone(&clock);
            Arc::new(RollupQueue { what, window, delay, tally: Mutex::default(), clock, due: Notify::new() })
        };
        let (refusals, reads) = (queue("refusals", 1, Duration::ZERO), queue("reads", 60, READ_DELAY));
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        for queue in [&refusals, &reads] {
            tasks.spawn(write(log.clone(), Arc::clone(queue), closing.clone()));
        }
        tasks.close();
        Self { refusals, reads, tasks, closing }
    }

    /// The context of an unknown caller: an invalid key, or none.
    pub const fn anonymous() -> Context {
        Context::of(Actor::System("gateway"))
    }

    /// Counts an invalid key or a missing permission. `context` is the caller's, or [`AccessRollup::anonymous`].
    pub fn denied(&self, context: Context, code: ErrorCode) {
        self.refusals.count(context, None, |_| Reason::Denied(code));
    }

    /// Counts a request above a rate limit; `limit` is the number of the measure.
    pub fn rate_limited(&self, context: Context, limit_id: LimitName, measure: impl Into<LimitedMeasure>, limit: u64) {
        let measure = measure.into();
        self.refusals.count(context, None, |_| Reason::RateLimited { limit_id, measure, limit });
    }

    /// Counts a change by administration that a rule refused.
    pub fn rejected(&self, context: Context, change: RejectedChange) {
        let RejectedChange { code, method, resource, resource_id } = change;
        self.refusals.count(context, resource_id, |_| Reason::Rejected { code, resource, method });
    }

    /// Counts a read of what is recorded.
    pub fn read(&self, context: Context, kind: ReadKind) {
        self.reads.count(context, None, |second| Reason::read(kind, second));
    }

    /// Records the rest and ends. Waits at most 5 s for a log that does not answer.
    pub async fn close(&self) {
        self.closing.cancel();
        if timeout(FLUSH_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("refusals and reads were not recorded before the shutdown");
        }
    }
}

impl Drop for AccessRollup {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl RollupQueue {
    fn count(&self, context: Context, resource_id: Option<String>, reason: impl FnOnce(i64) -> Reason) {
        let second = self.second();
        let counted = TalliedRequest { context, resource_id };
        if self.with_tally(|tally| tally.count(counted, reason(second), second)) {
            self.due.notify_one();
        }
    }

    fn with_tally<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn second(&self) -> i64 {
        self.clock.now().timestamp()
    }

    fn until_next_window(&self) -> Duration {
        let window = self.window * MICROS_PER_SECOND;
        let into = self.clock.now().timestamp_micros().rem_euclid(window);
        // One millisecond more, because a timer may fire a little early by the wall clock.
        Duration::from_micros((window - into).unsigned_abs()) + Duration::from_millis(1)
    }
}

async fn write(log: Log, queue: Arc<RollupQueue>, closing: CancellationToken) {
    let (mut backoff, mut attempts_left) = (Backoff::new(RETRY_MIN, RETRY_MAX), CLOSING_ATTEMPTS_MAX);
    loop {
        let closed = closing.is_cancelled();
        // A shutdown does not wait for the window to end.
        let now = if closed { i64::MAX } else { queue.second() };
        let (taken, given_up) = queue.with_tally(|tally| (tally.take(now, NOTES_PER_APPEND), tally.take_given_up()));
        let what = queue.what;
        if given_up > 0 {
            tracing::error!(what, given_up, "too many callers at a time: these are not recorded");
        }
        if taken.is_empty() {
            if closed {
                return;
            }
            wait_for_more(&queue, &closing).await;
        } else if let Err(error) = log.note(taken.notes()).await {
            if error.may_be_recorded() {
                // Recorded again, they would be counted twice.
                let requests = taken.requests();
                tracing::warn!(%error, what, requests, "these may not have been recorded");
            } else {
                tracing::warn!(%error, what, "these were not recorded; trying again");
                queue.with_tally(|tally| tally.put_back(taken));
            }
            attempts_left = attempts_left.saturating_sub(u32::from(closed));
            if attempts_left == 0 {
                return;
            }
            backoff.wait().await;
        } else {
            backoff.reset();
        }
    }
}

async fn wait_for_more(queue: &RollupQueue, closing: &CancellationToken) {
    let counting = queue.with_tally(|tally| !tally.is_empty());
    tokio::select! {
        () = queue.due.notified() => {
            let _ = timeout(queue.delay, closing.cancelled()).await;
        }
        () = sleep(queue.until_next_window()), if counting => {}
        () = closing.cancelled() => {}
    }
}

#[cfg(test)]
mod tests;

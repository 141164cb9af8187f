//! `access.denied` and `access.rate_limited`: the record of requests that the door refused, rolled up so that a flood of
//! requests cannot flood the log. The first refusal of a (caller, reason, second) is recorded at once, the others of that
//! second as one event with `count` when the second is over. Counting never waits; refusals that cannot be recorded yet are
//! kept as numbers, and none is recorded twice: if it is unknown whether they were recorded, they are given up.

mod tally;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::backoff::Backoff;
use events::event::{Actor, Context};
use events::limit::{LimitName, LimitedMeasure};
use events::log::Log;
use events::refusal::ErrorCode;
use events::time::Clock;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use tally::{Reason, Tally};

/// The most events of one append.
const NOTES_PER_APPEND: usize = 256;
/// The pauses between attempts. They begin anew once something was recorded.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Attempts to record the rest after `close`.
const CLOSING_ATTEMPTS_MAX: u32 = 5;
/// How long `close` waits for the log to record the rest.
const FLUSH_MAX: Duration = Duration::from_secs(5);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Counts refusals at the door and records them. One task writes; it ends with [`AccessRollup::close`], or when this is
/// dropped.
pub struct AccessRollup {
    queue: Arc<RollupQueue>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

struct RollupQueue {
    tally: Mutex<Tally>,
    clock: Arc<dyn Clock>,
    /// Notified when something can be recorded at once.
    due: Notify,
}

impl AccessRollup {
    /// Starts the writing task. Must be called inside a runtime.
    pub fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        let queue = Arc::new(RollupQueue { tally: Mutex::default(), clock, due: Notify::new() });
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(write(log, Arc::clone(&queue), closing.clone()));
        tasks.close();
        Self { queue, tasks, closing }
    }

    /// The context of an unknown caller: an invalid key, or none.
    pub const fn anonymous() -> Context {
        Context::of(Actor::System("gateway"))
    }

    /// Counts an invalid key or a missing permission. `context` is the caller's, or [`AccessRollup::anonymous`].
    pub fn denied(&self, context: Context, code: ErrorCode) {
        self.queue.count(context, Reason::Denied(code));
    }

    /// Counts a request above a rate limit; `limit` is the number of the measure.
    pub fn rate_limited(&self, context: Context, limit_id: LimitName, measure: impl Into<LimitedMeasure>, limit: u64) {
        self.queue.count(context, Reason::RateLimited { limit_id, measure: measure.into(), limit });
    }

    /// Records the rest and ends. Waits at most 5 s for a log that does not answer.
    pub async fn close(&self) {
        self.closing.cancel();
        if timeout(FLUSH_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("refusals at the door were not recorded before the shutdown");
        }
    }
}

impl Drop for AccessRollup {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl RollupQueue {
    fn count(&self, context: Context, reason: Reason) {
        let second = self.second();
        if self.with_tally(|tally| tally.count(context, reason, second)) {
            self.due.notify_one();
        }
    }

    fn with_tally<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn second(&self) -> i64 {
        self.clock.now().timestamp()
    }

    fn until_next_second(&self) -> Duration {
        let into = self.clock.now().timestamp_micros().rem_euclid(MICROS_PER_SECOND);
        // One millisecond more, because a timer may fire a little early by the wall clock.
        Duration::from_micros((MICROS_PER_SECOND - into).unsigned_abs()) + Duration::from_millis(1)
    }
}

async fn write(log: Log, queue: Arc<RollupQueue>, closing: CancellationToken) {
    let (mut backoff, mut attempts_left) = (Backoff::new(RETRY_MIN, RETRY_MAX), CLOSING_ATTEMPTS_MAX);
    loop {
        let closed = closing.is_cancelled();
        // A shutdown does not wait for the second to end.
        let now = if closed { i64::MAX } else { queue.second() };
        let taken = queue.with_tally(|tally| tally.take(now, NOTES_PER_APPEND));
        if taken.is_empty() {
            if closed {
                return;
            }
            wait_for_more(&queue, &closing).await;
        } else if let Err(error) = log.note(taken.notes()).await {
            if error.may_be_recorded() {
                // Recorded again, they would be counted twice.
                let refusals = taken.refusals();
                tracing::warn!(%error, refusals, "refusals at the door may not have been recorded");
            } else {
                tracing::warn!(%error, "refusals at the door were not recorded; trying again");
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
        () = queue.due.notified() => {}
        () = sleep(queue.until_next_second()), if counting => {}
        () = closing.cancelled() => {}
    }
}

#[cfg(test)]
mod tests;

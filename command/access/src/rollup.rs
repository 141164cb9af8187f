//! `access.denied` and `access.rate_limited`: requests that were turned away at the door, rolled up so that a flood of
//! them cannot flood the log. The first of a (who, why, second) is recorded at once, the rest of that second as one
//! event with `count` when the second is over. Telling never waits; what cannot be recorded yet is kept as a number.

mod tally;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::event::{Actor, Context};
use events::limit::{LimitName, LimitedMeasure};
use events::log::Log;
use events::refusal::ErrorCode;
use events::time::Clock;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use tally::{Tally, Why};

/// What one append carries at most.
const NOTES_PER_APPEND: usize = 256;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often a log that cannot record is asked again after the end was called.
const LAST_TRIES: u32 = 5;
/// How long a shutdown waits for the log to take the last of it.
const FLUSH_MAX: Duration = Duration::from_secs(5);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Counts refusals at the door and records them. One task writes; it ends with [`AccessRollup::close`], or with the
/// last handle.
pub struct AccessRollup {
    shared: Arc<RollupQueue>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

struct RollupQueue {
    tally: Mutex<Tally>,
    clock: Arc<dyn Clock>,
    /// Something can be recorded now.
    due: Notify,
}

impl AccessRollup {
    /// Starts the writing task. To be called inside a runtime.
    pub fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(RollupQueue { tally: Mutex::default(), clock, due: Notify::new() });
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(write(log, Arc::clone(&shared), closing.clone()));
        tasks.close();
        Self { shared, tasks, closing }
    }

    /// Nobody that we know: a bad key, or none.
    pub const fn anonymous() -> Context {
        Context::of(Actor::System("gateway"))
    }

    /// A bad key or a missing permission. `context`: the caller's chain, or [`AccessRollup::anonymous`].
    pub fn denied(&self, context: Context, code: ErrorCode) {
        self.shared.tell(context, Why::Denied(code));
    }

    /// A request above a rate limit of its caller; `limit` is the measure's number.
    pub fn rate_limited(&self, context: Context, limit_id: LimitName, measure: impl Into<LimitedMeasure>, limit: u64) {
        self.shared.tell(context, Why::RateLimited { limit_id, measure: measure.into(), limit });
    }

    /// Records what is left and ends; waits at most 5 s for a log that does not answer.
    pub async fn close(&self) {
        self.closing.cancel();
        if timeout(FLUSH_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("refusals at the door could not be recorded before the end");
        }
    }
}

impl Drop for AccessRollup {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl RollupQueue {
    fn tell(&self, context: Context, why: Why) {
        let second = self.second();
        if self.with_tally(|tally| tally.tell(context, why, second)) {
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
        // A millisecond more: timers may fire a little early by the wall clock.
        Duration::from_micros((MICROS_PER_SECOND - into).unsigned_abs()) + Duration::from_millis(1)
    }
}

async fn write(log: Log, shared: Arc<RollupQueue>, closing: CancellationToken) {
    let (mut wait, mut last_tries) = (RETRY_FIRST, LAST_TRIES);
    loop {
        let closed = closing.is_cancelled();
        // At the end no second is waited for.
        let now = if closed { i64::MAX } else { shared.second() };
        let taken = shared.with_tally(|tally| tally.take(now, NOTES_PER_APPEND));
        if taken.is_empty() {
            if closed {
                return;
            }
            wait_for_more(&shared, &closing).await;
        } else if let Err(error) = log.note(taken.notes()).await {
            tracing::warn!(%error, "record refusals at the door");
            shared.with_tally(|tally| tally.put_back(taken));
            last_tries = last_tries.saturating_sub(u32::from(closed));
            if last_tries == 0 {
                return;
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        } else {
            wait = RETRY_FIRST;
        }
    }
}

async fn wait_for_more(shared: &RollupQueue, closing: &CancellationToken) {
    let counting = shared.with_tally(|tally| !tally.is_empty());
    tokio::select! {
        () = shared.due.notified() => {}
        () = sleep(shared.until_next_second()), if counting => {}
        () = closing.cancelled() => {}
    }
}

#[cfg(test)]
mod tests;

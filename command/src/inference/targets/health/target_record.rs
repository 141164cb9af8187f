//! A target's measurements by this node.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::time::Clock;
use http::HeaderMap;

use super::learned_limits::{KnownLimits, LearnedLimits};
use super::outage::{Outage, OutageChange};
use super::window::{CallCounts, CallTimes, CallWindow};

/// So many kinds of errors are kept, the last ones.
const ERRORS_MAX: usize = 16;
/// The second of no response.
const NEVER: u64 = u64::MAX;

/// Why a call failed, as in `inference.attempt_failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    pub reason: &'static str,
    pub status: Option<u16>,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCount {
    pub error: CallError,
    pub count: u64,
    pub last_at: DateTime<Utc>,
}

pub struct TargetRecord {
    clock: Arc<dyn Clock>,
    /// The provider's outage.
    pub outage: Arc<Outage>,
    /// The second in which limits were read last.
    limits_read_in: AtomicU64,
    measurements: Mutex<Measurements>,
}

#[derive(Debug, Default)]
struct Measurements {
    window: CallWindow,
    errors: Vec<ErrorCount>,
    limits: KnownLimits,
}

/// The same as of a moment.
#[derive(Clone, Debug, Default)]
pub struct MeasuredTarget {
    pub model: String,
    pub calls: CallCounts,
    pub errors: Vec<ErrorCount>,
    pub limits: KnownLimits,
}

impl TargetRecord {
    pub fn new(clock: Arc<dyn Clock>, outage: Arc<Outage>) -> Self {
        Self { clock, outage, limits_read_in: AtomicU64::new(NEVER), measurements: Mutex::default() }
    }

    /// Counts a call that has ended: its times, or why it failed.
    pub fn record(&self, outcome: Result<CallTimes, CallError>) -> Option<OutageChange> {
        let now = self.clock.monotonic();
        match outcome {
            Ok(times) => {
                self.locked().window.record(Some(times), now);
                self.outage.served()
            }
            Err(error) => {
                let at = self.clock.now();
                let mut measurements = self.locked();
                measurements.window.record(None, now);
                measurements.count(error, at);
                drop(measurements);
                self.outage.failed(at)
            }
        }
    }

    /// Learns what the head of a response says of limits: of all that come within one second, one is read. `second` is any number that
    /// changes every second. Returns whether the head is the first one.
    pub fn learn(&self, headers: &HeaderMap, second: u64) -> bool {
        let before = self.limits_read_in.swap(second, Ordering::Relaxed);
        if before != second {
            self.learn_now(headers);
        }
        before == NEVER
    }

    /// The time by the wall clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn learn_now(&self, headers: &HeaderMap) {
        let learned = LearnedLimits::read(headers);
        if !learned.is_empty() {
            let at = self.clock.now();
            self.locked().limits.learn(&learned, at);
        }
    }

    pub fn was_called_lately(&self, now: Duration) -> bool {
        !self.locked().window.is_empty(now)
    }

    /// The errors with the last one first; `None` if it was not called lately.
    pub fn measured(&self, model: &str, now: Duration) -> Option<MeasuredTarget> {
        let measurements = self.locked();
        if measurements.window.is_empty(now) {
            return None;
        }
        let Measurements { window, errors, limits } = &*measurements;
        let (calls, mut errors, limits) = (window.calls(now), errors.clone(), *limits);
        drop(measurements);
        errors.sort_by_key(|error| Reverse(error.last_at));
        Some(MeasuredTarget { model: model.to_owned(), calls, errors, limits })
    }

    fn locked(&self) -> MutexGuard<'_, Measurements> {
        self.measurements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measurements {
    fn count(&mut self, error: CallError, at: DateTime<Utc>) {
        if let Some(known) = self.errors.iter_mut().find(|known| known.error == error) {
            known.count = known.count.saturating_add(1);
            known.last_at = at;
            return;
        }
        if self.errors.len() >= ERRORS_MAX
            && let Some((oldest, _)) = self.errors.iter().enumerate().min_by_key(|(_, known)| known.last_at)
        {
            self.errors.swap_remove(oldest);
        }
        self.errors.push(ErrorCount { error, count: 1, last_at: at });
    }
}

#[cfg(test)]
mod tests {
    use events::time::{ManualClock, from_micros};
    use http::HeaderValue;

    use super::*;

    fn record() -> (Arc<ManualClock>, TargetRecord) {
        let clock = Arc::new(ManualClock::at(from_micros(0)));
        (Arc::clone(&clock), TargetRecord::new(clock, Arc::default()))
    }

    #[test]
    fn errors_are_counted_by_reason_and_status_and_the_oldest_kind_makes_room() {
        let (clock, record) = record();
        let fails = |reason, status| {
            clock.advance(Duration::from_millis(1));
            record.record(Err(CallError { reason, status }));
        };
        fails("timeout", None);
        for status in 500..520 {
            fails("status", Some(status));
        }
        fails("status", Some(510));
        let measured = record.measured("m", Duration::ZERO).expect("calls");
        assert_eq!(measured.errors.len(), ERRORS_MAX);
        let first = &measured.errors[0];
        assert_eq!((first.error.status, first.count, first.last_at), (Some(510), 2, from_micros(22_000)));
        assert_eq!(measured.errors.last().map(|error| error.error.status), Some(Some(504)));
        assert_eq!((measured.calls.calls, measured.calls.failed), (22, 22));
    }

    #[test]
    fn of_the_responses_of_a_second_one_is_read_and_every_failed_one() {
        let (_, record) = record();
        record.record(Ok(CallTimes { first_byte_ms: 1, latency_ms: 1 }));
        let saying = |remaining: u32| {
            let headers = [("x-ratelimit-remaining-requests", HeaderValue::from(remaining))];
            headers.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), value)).collect::<HeaderMap>()
        };
        let remaining = || {
            let limits = record.measured("m", Duration::ZERO).expect("a call").limits;
            limits.quotas().next().and_then(|(_, seen)| seen.value.remaining)
        };
        record.learn(&saying(9), 0);
        record.learn(&saying(8), 0);
        assert_eq!(remaining(), Some(9));
        record.learn(&saying(7), 1);
        assert_eq!(remaining(), Some(7));
        record.learn_now(&saying(6));
        assert_eq!(remaining(), Some(6));
    }
}

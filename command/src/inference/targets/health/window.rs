//! The calls of the last minutes.

use std::time::Duration;

use super::latencies::Latencies;

const MINUTES: usize = 5;
/// How long the calls are that are counted, up to a minute less: the minute that has begun is one of them.
pub const WINDOW: Duration = Duration::from_mins(MINUTES as u64);

/// Counts of calls, and their latencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    pub calls: u64,
    pub failed: u64,
    /// Latencies of calls that were served: from the call to the head of its response, and to its end.
    pub first_byte: Latencies,
    pub whole: Latencies,
}

/// The times of a call that was served, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimes {
    pub first_byte_ms: u32,
    pub latency_ms: u32,
}

/// Calls by the minute in which they ended.
#[derive(Debug, Default)]
pub struct CallWindow {
    minutes: [Minute; MINUTES],
}

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    calls: CallCounts,
}

impl CallWindow {
    /// `None` for a call that failed.
    pub fn record(&mut self, served: Option<CallTimes>, now: Duration) {
        let number = minute_of(now);
        let Some(minute) = usize::try_from(number).ok().and_then(|number| self.minutes.get_mut(number % MINUTES))
        else {
            return;
        };
        if minute.number != number {
            *minute = Minute { number, calls: CallCounts::default() };
        }
        let calls = &mut minute.calls;
        calls.calls = calls.calls.saturating_add(1);
        match served {
            Some(CallTimes { first_byte_ms, latency_ms }) => {
                calls.first_byte.record(first_byte_ms);
                calls.whole.record(latency_ms);
            }
            None => calls.failed = calls.failed.saturating_add(1),
        }
    }

    /// All of them together.
    pub fn calls(&self, now: Duration) -> CallCounts {
        let mut all = CallCounts::default();
        for Minute { calls, .. } in self.minutes_until(now) {
            all.calls = all.calls.saturating_add(calls.calls);
            all.failed = all.failed.saturating_add(calls.failed);
            all.first_byte.add(&calls.first_byte);
            all.whole.add(&calls.whole);
        }
        all
    }

    pub fn is_empty(&self, now: Duration) -> bool {
        self.minutes_until(now).all(|minute| minute.calls.calls == 0)
    }

    fn minutes_until(&self, now: Duration) -> impl Iterator<Item = &Minute> {
        let current = minute_of(now);
        self.minutes.iter().filter(move |minute| minute.number + MINUTES as u64 > current)
    }
}

const fn minute_of(now: Duration) -> u64 {
    now.as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Option<CallTimes> = Some(CallTimes { first_byte_ms: 20, latency_ms: 300 });

    const fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Calls and failures.
    fn counted(window: &CallWindow, at: u64) -> (u64, u64) {
        let calls = window.calls(second(at));
        assert_eq!(window.is_empty(second(at)), calls.calls == 0);
        (calls.calls, calls.failed)
    }

    #[test]
    fn a_call_counts_for_four_to_five_minutes() {
        let mut window = CallWindow::default();
        assert_eq!(counted(&window, 0), (0, 0));
        window.record(SERVED, second(59));
        window.record(None, second(60));
        assert_eq!(counted(&window, 60), (2, 1));
        assert_eq!(counted(&window, 299), (2, 1));
        assert_eq!(counted(&window, 300), (1, 1), "the first minute is over");
        assert_eq!(counted(&window, 360), (0, 0));
        window.record(SERVED, second(361));
        assert_eq!(counted(&window, 361), (1, 0), "what was in its place is gone");
        assert_eq!(counted(&window, 1_000_000), (0, 0));
    }

    #[test]
    fn times_are_those_of_calls_that_were_served() {
        let mut window = CallWindow::default();
        for at in 0..4 {
            window.record(SERVED, second(at * 60));
            window.record(None, second(at * 60));
        }
        let calls = window.calls(second(200));
        let percentiles = calls.first_byte.percentiles().zip(calls.whole.percentiles()).expect("times");
        assert_eq!((percentiles.0.p50, percentiles.1.p99), (20, 300));
        assert_eq!((calls.calls, calls.failed), (8, 4));
    }
}

//! How long the tables have lacked a change of administration that is in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the task that updates the tables, and read by every request.
pub(super) struct TablesLag {
    started: Instant,
    /// In microseconds after `started`; 0 if the tables lack nothing.
    since: AtomicU64,
}

impl Default for TablesLag {
    fn default() -> Self {
        Self { started: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl TablesLag {
    /// Notes since when the tables have lacked something, unless they have lacked something for longer.
    pub(super) fn begins(&self, at: Instant) {
        let since = self.micros(at).max(1);
        // If they lag already, that began earlier.
        let _ = self.since.compare_exchange(0, since, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(super) fn ends(&self) {
        self.since.store(0, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> Duration {
        match self.since.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.micros(Instant::now()).saturating_sub(since)),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_lasts_from_its_first_moment_until_it_ends() {
        let lag = TablesLag::default();
        assert_eq!(lag.now(), Duration::ZERO);
        let minute = Duration::from_secs(60);
        let earlier = TablesLag {
            started: lag.started.checked_sub(minute * 2).expect("an earlier time"),
            ..TablesLag::default()
        };
        earlier.begins(lag.started - minute);
        earlier.begins(lag.started);
        assert!(earlier.now() >= minute && earlier.now() < minute * 2, "{:?}", earlier.now());
        earlier.ends();
        assert_eq!(earlier.now(), Duration::ZERO);
    }
}

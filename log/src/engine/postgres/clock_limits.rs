//! How far the time of a batch may be from the database's clock.

use std::time::Duration;

use crate::LogError;

/// A node whose clock is further ahead would make all others wait with their next events for this time.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// In microseconds.
#[derive(Clone, Copy)]
pub(super) struct ClockLimits {
    pub(super) ahead_max: i64,
    pub(super) behind_max: i64,
}

impl ClockLimits {
    /// If a clock may be less than five seconds behind, one that is ahead gets no more.
    pub(super) fn with_behind_max(behind_max: Duration) -> Self {
        Self { ahead_max: micros(AHEAD_MAX.min(behind_max)), behind_max: micros(behind_max) }
    }

    /// For a batch whose time is this old.
    pub(super) fn late_by(self, age: Duration) -> Self {
        Self { behind_max: self.behind_max.saturating_add(micros(age)), ..self }
    }

    /// Compares the time of a batch with the database's.
    pub(super) fn check(self, recorded_at: i64, now: i64) -> Result<(), LogError> {
        let ahead = recorded_at - now;
        let by = Duration::from_micros(ahead.unsigned_abs());
        if ahead > self.ahead_max {
            return Err(LogError::ClockAhead { by });
        }
        if -ahead > self.behind_max {
            return Err(LogError::ClockBehind { by });
        }
        Ok(())
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use events::time::SystemClock;

    use super::*;
    use crate::{LogOptions, request_time_max};

    /// The sum of both clocks' errors by which a hold may end too early.
    fn too_early_by(hold_ttl: Duration) -> Duration {
        let options = LogOptions::new(std::sync::Arc::new(SystemClock::new())).with_hold_ttl(hold_ttl);
        let ClockLimits { ahead_max, behind_max } = ClockLimits::with_behind_max(options.clock_behind_max);
        Duration::from_micros((ahead_max + behind_max).unsigned_abs())
    }

    #[test]
    fn two_wrong_clocks_end_no_hold_while_its_request_may_run() {
        for seconds in [10, 30, 49, 50, 120, 599, 600, 900, 86_400] {
            let hold_ttl = Duration::from_secs(seconds);
            assert!(too_early_by(hold_ttl) <= hold_ttl - request_time_max(hold_ttl), "{hold_ttl:?}");
        }
        assert_eq!(too_early_by(Duration::from_secs(900)), Duration::from_secs(65));
        assert_eq!(
            too_early_by(Duration::from_secs(1)),
            Duration::from_secs(2),
            "no clock is held to less than a second"
        );
    }
}

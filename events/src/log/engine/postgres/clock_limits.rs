//! How far the time of a batch may be from the database's clock.

use std::time::Duration;

use crate::log::LogError;

/// A node whose clock is further ahead would make all others wait with their next events for this time.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// In microseconds.
#[derive(Clone, Copy)]
pub(super) struct ClockLimits {
    pub(super) ahead_max: i64,
    pub(super) behind_max: i64,
}

impl ClockLimits {
    pub(super) fn with_behind_max(behind_max: Duration) -> Self {
        Self { ahead_max: micros(AHEAD_MAX), behind_max: micros(behind_max) }
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

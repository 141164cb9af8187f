//! When a batch is recorded: never before the one before it, and not at all while the wall clock cannot be trusted.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::LogError;
use crate::time::Clock;

/// How far the wall clock may move against the monotonic one before it counts as stepped.
const STEP_MAX: Duration = Duration::from_secs(60);

pub(super) struct BatchClock {
    clock: Arc<dyn Clock>,
    /// The last recorded instant.
    last: Option<DateTime<Utc>>,
    /// A pair of readings that belonged together.
    agreed: (DateTime<Utc>, Duration),
}

impl BatchClock {
    pub(super) fn new(clock: Arc<dyn Clock>, last: Option<DateTime<Utc>>) -> Self {
        // After a restart the log is the only witness: a clock that is far behind it was set back.
        let now = clock.now();
        let wall = last.map_or(now, |last| now.max(last));
        let agreed = (wall, clock.monotonic());
        Self { clock, last, agreed }
    }

    /// The instant of the next batch.
    pub(super) fn tick(&mut self) -> Result<DateTime<Utc>, LogError> {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let elapsed = monotonic.saturating_sub(self.agreed.1);
        let expected = self.agreed.0 + elapsed;
        if (wall - expected).abs().to_std().unwrap_or(Duration::MAX) > STEP_MAX {
            return Err(LogError::ClockStepped);
        }
        self.agreed = (wall, monotonic);
        Ok(self.last.map_or(wall, |last| wall.max(last)))
    }

    /// A batch of that instant is durable.
    pub(super) fn recorded(&mut self, at: DateTime<Utc>) {
        self.last = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, parse_rfc3339};

    #[test]
    fn a_stepped_clock_stops_the_appends_until_it_agrees_again() {
        let start = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let clock = Arc::new(ManualClock::at(start));
        let mut batches = BatchClock::new(clock.clone(), Some(start));
        assert_eq!(batches.tick().ok(), Some(start));
        clock.step_wall(-3_600_000_000);
        assert!(matches!(batches.tick(), Err(LogError::ClockStepped)));
        clock.advance(Duration::from_secs(5));
        assert!(matches!(batches.tick(), Err(LogError::ClockStepped)));
        clock.step_wall(3_600_000_000);
        assert_eq!(batches.tick().ok(), Some(start + Duration::from_secs(5)));
    }

    #[test]
    fn a_small_step_back_repeats_the_last_instant() {
        let start = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let clock = Arc::new(ManualClock::at(start));
        let mut batches = BatchClock::new(clock.clone(), None);
        batches.recorded(start);
        clock.step_wall(-2_000_000);
        assert_eq!(batches.tick().ok(), Some(start));
    }
}

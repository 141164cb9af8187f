//! The clock of batches: its time never goes back, and it stops the appends while the wall clock cannot be trusted.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::time::{Clock, rfc3339};

use super::LogError;

/// How far the wall clock may deviate from the monotonic clock before it counts as stepped.
const STEP_MAX: TimeDelta = TimeDelta::seconds(60);
/// How long a log may have had no event before a start says so: the gateway was away, or the clock is ahead.
const SILENCE_MAX: TimeDelta = TimeDelta::seconds(24 * 3600);

pub(super) struct BatchClock {
    clock: Arc<dyn Clock>,
    /// The time of the last recorded batch.
    last: Option<DateTime<Utc>>,
    /// Readings of both clocks at the same moment. `None` after a start with a wall clock behind the log: it was set back, or
    /// the log was written with a clock that was ahead. Also `None` while the wall clock is known to be wrong.
    agreed: Option<(DateTime<Utc>, Duration)>,
}

impl BatchClock {
    pub(super) fn new(clock: Arc<dyn Clock>, last: Option<DateTime<Utc>>) -> Self {
        // After a restart, only the log can show that the clock was set back.
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let agreed = (!is_behind(now, last)).then(|| (last.map_or(now, |last| now.max(last)), monotonic));
        Self { clock, last, agreed }
    }

    /// The time without an event before this start, if it is long. The clock may be ahead then, which the log alone cannot show: once an
    /// event is recorded, no other one can be before the clock has got there again.
    pub(super) fn long_silence(&self) -> Option<TimeDelta> {
        let (now, _) = self.agreed?;
        self.last.map(|last| now - last).filter(|silence| *silence > SILENCE_MAX)
    }

    /// The time of the next batch.
    pub(super) fn tick(&mut self) -> Result<DateTime<Utc>, LogError> {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let is_stepped = match self.agreed {
            Some((agreed, at)) => (wall - (agreed + monotonic.saturating_sub(at))).abs() > STEP_MAX,
            None => {
                if let Some(last) = self.last.filter(|last| is_behind(wall, Some(*last))) {
                    return Err(LogError::ClockBehindLog { now: rfc3339(wall), last: rfc3339(last) });
                }
                false
            }
        };
        if is_stepped {
            return Err(LogError::ClockStepped);
        }
        self.agreed = Some((wall, monotonic));
        Ok(self.not_before_last(wall))
    }

    fn not_before_last(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.last.map_or(at, |last| at.max(last))
    }

    /// How old the time of the last tick is.
    pub(super) fn age(&self) -> Duration {
        self.agreed.map_or(Duration::ZERO, |(_, at)| self.clock.monotonic().saturating_sub(at))
    }

    /// Notes that the wall clock is wrong, by the clock of a shared database: when it is set, that is no step.
    pub(super) fn is_wrong(&mut self) {
        self.agreed = None;
    }

    /// Notes that another process has recorded a batch of this time. A wall clock that was far behind it when it was last read
    /// was wrong, also if it has been set since.
    pub(super) fn recorded_by_others(&mut self, at: DateTime<Utc>) {
        self.recorded(at);
        let monotonic = self.clock.monotonic();
        if self.agreed.is_some_and(|(wall, at)| is_behind(wall + monotonic.saturating_sub(at), self.last)) {
            self.is_wrong();
        }
    }

    /// Notes that a batch of this time is durable.
    pub(super) fn recorded(&mut self, at: DateTime<Utc>) {
        self.last = Some(at);
    }
}

fn is_behind(wall: DateTime<Utc>, last: Option<DateTime<Utc>>) -> bool {
    last.is_some_and(|last| last - wall > STEP_MAX)
}

#[cfg(test)]
mod tests {
    use events::time::{ManualClock, parse_rfc3339};

    use super::*;

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
    fn started_with_a_clock_behind_the_log_it_goes_on_once_the_clock_has_caught_up() {
        let last = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let hour = Duration::from_secs(3600);
        let clock = Arc::new(ManualClock::at(last - hour));
        let mut batches = BatchClock::new(clock.clone(), Some(last));
        assert!(matches!(batches.tick(), Err(LogError::ClockBehindLog { .. })));
        clock.advance(hour / 2);
        assert!(matches!(batches.tick(), Err(LogError::ClockBehindLog { .. })));
        clock.advance(hour / 2);
        assert_eq!(batches.tick().ok(), Some(last));
        clock.step_wall(-3_600_000_000);
        assert!(matches!(batches.tick(), Err(LogError::ClockStepped)), "from here on the clock is watched");
    }

    #[test]
    fn a_start_long_after_the_last_event_is_noticed() {
        let last = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let silence = |hours: u64, last| {
            let start = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time") + Duration::from_secs(hours * 3600);
            BatchClock::new(Arc::new(ManualClock::at(start)), last).long_silence()
        };
        assert_eq!(silence(24, Some(last)), None);
        assert_eq!(silence(25, Some(last)), Some(TimeDelta::seconds(25 * 3600)));
        assert_eq!(silence(25, None), None, "a new log");
    }

    #[test]
    fn a_clock_that_was_wrong_by_the_databases_may_be_set_but_not_behind_the_log() {
        let last = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let clock = Arc::new(ManualClock::at(last));
        let mut batches = BatchClock::new(clock.clone(), Some(last));
        batches.is_wrong();
        clock.step_wall(1_200_000_000);
        assert_eq!(batches.tick().ok(), Some(last + Duration::from_secs(1200)));
        batches.is_wrong();
        clock.step_wall(-1_300_000_000);
        assert!(matches!(batches.tick(), Err(LogError::ClockBehindLog { .. })));
    }

    #[test]
    fn a_clock_far_behind_what_others_record_stops_the_appends_until_it_is_set() {
        let start = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let clock = Arc::new(ManualClock::at(start));
        let mut batches = BatchClock::new(clock.clone(), None);
        assert_eq!(batches.tick().ok(), Some(start));
        batches.recorded_by_others(start + Duration::from_secs(50));
        assert_eq!(batches.tick().ok(), Some(start + Duration::from_secs(50)));
        batches.recorded_by_others(start + Duration::from_secs(1200));
        assert!(matches!(batches.tick(), Err(LogError::ClockBehindLog { .. })));
        clock.step_wall(1_200_000_000);
        assert_eq!(batches.tick().ok(), Some(start + Duration::from_secs(1200)));
    }

    #[test]
    fn a_clock_that_is_set_before_what_others_recorded_is_read_was_wrong_all_the_same() {
        let start = parse_rfc3339("2026-11-20T08:00:00Z").expect("a time");
        let clock = Arc::new(ManualClock::at(start));
        let mut batches = BatchClock::new(clock.clone(), None);
        assert_eq!(batches.tick().ok(), Some(start));
        clock.step_wall(1_200_000_000);
        batches.recorded_by_others(start + Duration::from_secs(1200));
        assert_eq!(batches.tick().ok(), Some(start + Duration::from_secs(1200)));
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

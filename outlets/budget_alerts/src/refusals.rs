//! For how long the receiver has refused the alerts of an owner. It is remembered, so that neither a restart nor another process begins the
//! time anew.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A receiver that refuses alerts for so long does not want them.
const REFUSED_MAX: TimeDelta = TimeDelta::days(1);
/// A longer time between two refusals does not count: the receiver was away, or answered something else. An attempt takes at
/// most ten seconds, and the next one follows within a minute.
const COUNTED_MAX: TimeDelta = TimeDelta::minutes(2);
/// After so long without a refusal, the refusal of another alert begins the day anew.
const GAP_MAX: TimeDelta = TimeDelta::hours(1);

/// For how long the receiver has refused alerts of an owner without accepting one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// The position of the alert that it refused last.
    alert: u64,
    lasted: TimeDelta,
    last: DateTime<Utc>,
}

impl Refusals {
    /// Those up to a refusal of this alert now, after earlier ones.
    pub fn after(earlier: Option<Self>, alert: u64, now: DateTime<Utc>) -> Self {
        let lasted = earlier.map_or(TimeDelta::zero(), |earlier| earlier.lasted_until(alert, now));
        Self { alert, lasted, last: now }
    }

    fn lasted_until(self, alert: u64, now: DateTime<Utc>) -> TimeDelta {
        match now - self.last {
            gap if gap <= COUNTED_MAX => self.lasted + gap.max(TimeDelta::zero()),
            gap if gap <= GAP_MAX || self.alert == alert => self.lasted,
            _ => TimeDelta::zero(),
        }
    }

    /// Reads the form in which they are shown.
    pub fn read(text: &str) -> Option<Self> {
        let (alert, times) = text.split_once(' ')?;
        let (seconds, last) = times.split_once(' ')?;
        let lasted = TimeDelta::try_seconds(seconds.parse().ok()?)?;
        let last = DateTime::parse_from_rfc3339(last).ok()?.to_utc();
        Some(Self { alert: alert.parse().ok()?, lasted, last })
    }

    /// The position of the alert that was refused last.
    pub const fn alert(self) -> u64 {
        self.alert
    }

    /// The time of the last one.
    pub const fn last(self) -> DateTime<Utc> {
        self.last
    }

    /// True if they do not count any more for another alert.
    pub fn are_over(self, now: DateTime<Utc>) -> bool {
        now - self.last > GAP_MAX
    }

    /// True once the receiver has refused alerts for a day.
    pub fn are_final(self) -> bool {
        self.lasted > REFUSED_MAX
    }
}

/// The alert, the seconds, and the time of the last one.
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "{} {} {last}", self.alert, self.lasted.num_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    /// Adds `times` refusals of an alert, from minute `from` on and `apart` minutes apart, each remembered.
    fn refused(from: i64, (times, apart): (i64, i64), alert: u64, mut refusals: Refusals) -> Refusals {
        for number in 0..times {
            let remembered = Refusals::read(&refusals.to_string());
            refusals = Refusals::after(remembered, alert, minutes(from + apart * number));
        }
        refusals
    }

    fn first(alert: u64) -> Refusals {
        Refusals::after(None, alert, minutes(0))
    }

    #[test]
    fn a_day_of_refusals_is_final_whichever_alerts_they_were_and_whoever_had_the_role() {
        assert_eq!(first(7).to_string(), "7 0 1970-01-01T00:00:00Z");
        let refusals = refused(2, (720, 2), 7, first(7));
        assert!(!refusals.are_final(), "for a day");
        let refusals = refused(1_442, (1, 2), 7, refusals);
        assert!(refusals.are_final(), "for longer");
        assert!(refused(1_472, (1, 2), 9, refusals).are_final(), "the next one");
        assert!(!refused(1_503, (1, 2), 9, refusals).are_final(), "the next one, after more than an hour");
    }

    #[test]
    fn only_the_time_counts_in_which_a_receiver_refuses() {
        let refusals = refused(2, (360, 2), 7, first(7));
        // It is away for a day, and refuses once more.
        let refusals = refused(3_000, (1, 2), 7, refusals);
        assert!(!refusals.are_final(), "for half a day");
        assert!(refused(3_002, (361, 2), 7, refusals).are_final(), "and for another half");
    }

    #[test]
    fn the_time_between_other_answers_does_not_count() {
        // Once an hour for a month, and unavailable in between.
        assert!(!refused(60, (720, 60), 7, first(7)).are_final());
    }
}

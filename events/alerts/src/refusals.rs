//! Since when the receiver refuses what it gets. It is remembered beside the position, so that neither a restart nor another
//! process begins the time anew.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use events::role::RoleMemory;

/// A receiver that refuses alerts for so long does not want them; the next ones must not wait behind them for ever.
const REFUSED_MAX: TimeDelta = TimeDelta::days(1);
/// After so long without a refusal, for example because nobody answered, the time begins anew.
const GAP_MAX: TimeDelta = TimeDelta::hours(1);

/// The receiver has refused alerts since this time, and accepted none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    since: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Refusals {
    /// Those up to a refusal now, after what was remembered.
    pub fn after(remembered: &RoleMemory, now: DateTime<Utc>) -> Self {
        let earlier = Self::read(&remembered.detail).filter(|earlier| now - earlier.last <= GAP_MAX);
        Self { since: earlier.map_or(now, |earlier| earlier.since), last: now }
    }

    fn read(detail: &str) -> Option<Self> {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let (since, last) = detail.split_once(' ')?;
        Some(Self { since: time(since)?, last: time(last)? })
    }

    /// True once the receiver has refused alerts for a day.
    pub fn are_final(self) -> bool {
        self.last - self.since > REFUSED_MAX
    }

    /// The form in which they are remembered beside a position.
    pub fn memory(self, position: u64) -> RoleMemory {
        let [since, last] = [self.since, self.last].map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
        RoleMemory { position, detail: format!("{since} {last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    #[test]
    fn a_day_of_refusals_is_final_whichever_alerts_they_were_and_whoever_had_the_role() {
        let mut refusals = Refusals::after(&RoleMemory::default(), minutes(0));
        assert_eq!(refusals.memory(6).detail, "1970-01-01T00:00:00Z 1970-01-01T00:00:00Z");
        for minute in (59..=24 * 60).step_by(59) {
            refusals = Refusals::after(&refusals.memory(6), minutes(minute));
            assert!(!refusals.are_final(), "after {minute} minutes");
        }
        refusals = Refusals::after(&refusals.memory(6), minutes(24 * 60 + 1));
        assert!(refusals.are_final());
        assert!(Refusals::after(&refusals.memory(7), minutes(24 * 60 + 2)).are_final(), "the next one");
        assert!(!Refusals::after(&refusals.memory(7), minutes(25 * 60 + 2)).are_final(), "after an hour without one");
        let accepted = RoleMemory { position: 8, detail: String::new() };
        assert!(!Refusals::after(&accepted, minutes(24 * 60 + 2)).are_final());
    }
}

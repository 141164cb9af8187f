//! Since when the receiver refuses what it gets. It is remembered beside the position, so that neither a restart nor another
//! process begins the time anew.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use events::role::RoleMemory;

/// A receiver that refuses alerts for so long does not want them; the next ones must not wait behind them for ever.
const REFUSED_MAX: TimeDelta = TimeDelta::days(1);
/// After so long without a refusal, the time begins anew with the next alert that is refused.
const GAP_MAX: TimeDelta = TimeDelta::hours(1);

/// The receiver has refused alerts since this time, and accepted none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// The one that it refused last.
    alert: u64,
    since: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Refusals {
    /// Those up to a refusal of this alert now, after what was remembered.
    pub fn after(remembered: &RoleMemory, alert: u64, now: DateTime<Utc>) -> Self {
        let goes_on = |earlier: &Self| earlier.alert == alert || now - earlier.last <= GAP_MAX;
        let since = Self::read(&remembered.detail).filter(goes_on).map_or(now, |earlier| earlier.since);
        Self { alert, since, last: now }
    }

    fn read(detail: &str) -> Option<Self> {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let (alert, times) = detail.split_once(' ')?;
        let (since, last) = times.split_once(' ')?;
        Some(Self { alert: alert.parse().ok()?, since: time(since)?, last: time(last)? })
    }

    /// True once the receiver has refused alerts for a day.
    pub fn are_final(self) -> bool {
        self.last - self.since > REFUSED_MAX
    }

    /// The form in which they are remembered beside a position.
    pub fn memory(self, position: u64) -> RoleMemory {
        let [since, last] = [self.since, self.last].map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
        RoleMemory { position, detail: format!("{} {since} {last}", self.alert) }
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
        let mut refusals = Refusals::after(&RoleMemory::default(), 7, minutes(0));
        assert_eq!(refusals.memory(6).detail, "7 1970-01-01T00:00:00Z 1970-01-01T00:00:00Z");
        for minute in (59..=24 * 60).step_by(59) {
            refusals = Refusals::after(&refusals.memory(6), 7, minutes(minute));
            assert!(!refusals.are_final(), "after {minute} minutes");
        }
        refusals = Refusals::after(&refusals.memory(6), 7, minutes(24 * 60 + 1));
        assert!(refusals.are_final());
        assert!(Refusals::after(&refusals.memory(7), 9, minutes(24 * 60 + 2)).are_final(), "the next one");
        assert!(
            !Refusals::after(&refusals.memory(7), 9, minutes(25 * 60 + 2)).are_final(),
            "after an hour without one"
        );
        let accepted = RoleMemory { position: 8, detail: String::new() };
        assert!(!Refusals::after(&accepted, 9, minutes(24 * 60 + 2)).are_final());
    }

    #[test]
    fn nobody_who_answers_now_and_then_holds_the_others_back_for_longer_with_one_alert() {
        let refusals = Refusals::after(&RoleMemory::default(), 7, minutes(0));
        assert!(Refusals::after(&refusals.memory(6), 7, minutes(24 * 60 + 1)).are_final(), "away for a day");
    }
}

//! For how long the receiver has refused what it gets. It is remembered beside the position, so that neither a restart nor another
//! process begins the time anew.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use events::role::RoleMemory;

/// A receiver that refuses alerts for so long does not want them.
const REFUSED_MAX: TimeDelta = TimeDelta::days(1);
/// Refusals that are further from each other are no refusals for as long: the receiver may have been away between them.
const GAP_MAX: TimeDelta = TimeDelta::hours(1);

/// The receiver has refused alerts for so long, and accepted none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// The one that it refused last.
    alert: u64,
    lasted: TimeDelta,
    last: DateTime<Utc>,
}

impl Refusals {
    /// Those up to a refusal of this alert now, after what was remembered.
    pub fn after(remembered: &RoleMemory, alert: u64, now: DateTime<Utc>) -> Self {
        let lasted = match Self::read(&remembered.detail) {
            Some(earlier) if now - earlier.last <= GAP_MAX => {
                earlier.lasted + (now - earlier.last).max(TimeDelta::zero())
            }
            Some(earlier) if earlier.alert == alert => earlier.lasted,
            Some(_) | None => TimeDelta::zero(),
        };
        Self { alert, lasted, last: now }
    }

    fn read(detail: &str) -> Option<Self> {
        let (alert, times) = detail.split_once(' ')?;
        let (seconds, last) = times.split_once(' ')?;
        let lasted = TimeDelta::try_seconds(seconds.parse().ok()?)?;
        let last = DateTime::parse_from_rfc3339(last).ok()?.to_utc();
        Some(Self { alert: alert.parse().ok()?, lasted, last })
    }

    /// True once the receiver has refused alerts for a day.
    pub fn are_final(self) -> bool {
        self.lasted > REFUSED_MAX
    }

    /// The form in which they are remembered beside a position.
    pub fn memory(self, position: u64) -> RoleMemory {
        let last = self.last.to_rfc3339_opts(SecondsFormat::Secs, true);
        RoleMemory { position, detail: format!("{} {} {last}", self.alert, self.lasted.num_seconds()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    /// Refusals of an alert every half an hour from this minute on, remembered each time.
    fn refused_from(minute: i64, times: i64, alert: u64, mut refusals: Refusals) -> Refusals {
        for number in 0..times {
            refusals = Refusals::after(&refusals.memory(alert - 1), alert, minutes(minute + 30 * number));
        }
        refusals
    }

    fn first(alert: u64) -> Refusals {
        Refusals::after(&RoleMemory::default(), alert, minutes(0))
    }

    #[test]
    fn a_day_of_refusals_is_final_whichever_alerts_they_were_and_whoever_had_the_role() {
        assert_eq!(first(7).memory(6).detail, "7 0 1970-01-01T00:00:00Z");
        let refusals = refused_from(30, 48, 7, first(7));
        assert!(!refusals.are_final(), "for a day");
        let refusals = refused_from(49 * 30, 1, 7, refusals);
        assert!(refusals.are_final(), "for longer");
        assert!(refused_from(50 * 30, 1, 9, refusals).are_final(), "the next one");
        assert!(
            !refused_from(52 * 30, 1, 9, refusals).are_final(),
            "the next one, after more than an hour without a refusal"
        );
        let accepted = RoleMemory { position: 8, detail: String::new() };
        assert!(!Refusals::after(&accepted, 9, minutes(50 * 30)).are_final());
    }

    #[test]
    fn only_the_time_counts_in_which_a_receiver_refuses() {
        let refusals = refused_from(30, 24, 7, first(7));
        // It is away for a day, and refuses once more.
        let refusals = refused_from(3_000, 1, 7, refusals);
        assert!(!refusals.are_final(), "for half a day");
        assert!(refused_from(3_030, 25, 7, refusals).are_final(), "and for another half");
    }
}

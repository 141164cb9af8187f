//! How long the receiver has refused the next alert. It is remembered beside the position, so that neither a restart nor another
//! process begins the time anew.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use events::role::RoleMemory;

/// A receiver that refuses an alert for so long does not want it; the next ones must not wait behind it for ever.
const REFUSED_MAX: TimeDelta = TimeDelta::days(1);

/// The receiver has refused the alert at this position, and answered nothing else, since this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    position: u64,
    since: DateTime<Utc>,
}

impl Refusal {
    /// The receiver refuses the alert at this position now, after what was remembered.
    pub fn again(remembered: Option<&RoleMemory>, position: u64, now: DateTime<Utc>) -> Self {
        let since = remembered
            .filter(|memory| memory.position.checked_add(1) == Some(position))
            .and_then(|memory| DateTime::parse_from_rfc3339(&memory.detail).ok())
            .map_or(now, |since| since.to_utc());
        Self { position, since }
    }

    pub fn is_final(self, now: DateTime<Utc>) -> bool {
        now - self.since > REFUSED_MAX
    }

    /// The form in which it is remembered: nothing between the position and the alert is an alert.
    pub fn memory(self) -> RoleMemory {
        let detail = self.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        RoleMemory { position: self.position - 1, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_refusals_begins_with_the_first_one_of_this_alert_whoever_has_the_role() {
        let noon = DateTime::UNIX_EPOCH;
        let first = Refusal::again(None, 7, noon);
        assert_eq!(first.memory(), RoleMemory { position: 6, detail: "1970-01-01T00:00:00Z".to_owned() });
        let remembered = first.memory();
        for (hours, is_final) in [(1, false), (24, false), (25, true)] {
            let now = noon + TimeDelta::hours(hours);
            let again = Refusal::again(Some(&remembered), 7, now);
            assert_eq!((again, again.is_final(now)), (first, is_final), "after {hours} hours");
        }
        let later = noon + TimeDelta::hours(25);
        let none = RoleMemory { position: 7, detail: String::new() };
        for (remembered, position) in [(&remembered, 8), (&none, 8)] {
            assert!(!Refusal::again(Some(remembered), position, later).is_final(later), "another alert");
        }
    }
}

//! Maintenance windows: the spans of time in which a provider, or a target of a model, is not called. An operator plans them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decision_time::NEAR;
use crate::time::wire;

/// One span, with its beginning and without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    #[serde(with = "wire")]
    pub from: DateTime<Utc>,
    #[serde(with = "wire")]
    pub to: DateTime<Utc>,
}

/// The windows of one provider or target, in no particular order. They may overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaintenanceWindows(Vec<MaintenanceWindow>);

impl MaintenanceWindow {
    fn is_in_force(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }

    fn is_near(&self, at: DateTime<Utc>) -> bool {
        // The differences of two instants never overflow, unlike an instant that is moved.
        self.from - at <= NEAR && at - self.to <= NEAR
    }
}

impl MaintenanceWindows {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a window is in force, begins soon or has ended lately.
    pub fn is_near(&self, at: DateTime<Utc>) -> bool {
        self.0.iter().any(|window| window.is_near(at))
    }

    /// Until when these and the other windows are in force without a gap; `None` if none is in force.
    pub fn end_together_with(&self, others: &Self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut end = at;
        // Each turn moves the end, so that there are no more turns than windows.
        while let Some(window) = self.0.iter().chain(&others.0).find(|window| window.is_in_force(end)) {
            end = window.to;
        }
        (end > at).then_some(end)
    }

    /// Until when they are in force without a gap; `None` if none is in force.
    pub fn until(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.end_together_with(&Self(Vec::new()), at)
    }
}

impl From<Vec<MaintenanceWindow>> for MaintenanceWindows {
    fn from(windows: Vec<MaintenanceWindow>) -> Self {
        Self(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).unwrap()
    }

    fn windows(spans: &[(i64, i64)]) -> MaintenanceWindows {
        let window = |(from, to): &(i64, i64)| MaintenanceWindow { from: minute(*from), to: minute(*to) };
        spans.iter().map(window).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_window_has_its_beginning_and_not_its_end() {
        let planned = windows(&[(10, 20)]);
        let until = |at| planned.until(minute(at));
        assert_eq!([until(9), until(10), until(19), until(20)], [None, Some(minute(20)), Some(minute(20)), None]);
    }

    #[test]
    fn windows_without_a_gap_end_together() {
        let planned = windows(&[(30, 40), (10, 20), (15, 30), (41, 50)]);
        assert_eq!(planned.until(minute(12)), Some(minute(40)));
        assert_eq!(planned.until(minute(40)), None);
        let others = windows(&[(40, 41)]);
        assert_eq!(planned.end_together_with(&others, minute(12)), Some(minute(50)));
        assert_eq!(others.end_together_with(&planned, minute(12)), Some(minute(50)));
    }

    #[test]
    fn windows_are_near_for_an_hour_before_and_after() {
        let planned = windows(&[(100, 110)]);
        assert_eq!([39, 40, 170, 171].map(|at| planned.is_near(minute(at))), [false, true, true, false]);
        let ever = MaintenanceWindow { from: DateTime::<Utc>::MIN_UTC, to: DateTime::<Utc>::MAX_UTC };
        assert!(MaintenanceWindows::from(vec![ever]).is_near(minute(0)));
    }
}

//! Which admissions changes of prices may concern, by their times and positions alone. Both rise together in the log, so that a
//! search by halves finds the one admission, or the one change, that decides.

use chrono::{DateTime, TimeDelta, Utc};

use super::price_history::PastChange;

/// For this long after a change of a price, a request may be admitted by the prices before it: it was planned by them, and then
/// its tokens were counted and it waited for the ledger, whose node may have another clock.
pub const OUTDATED_PLANS_MAX: TimeDelta = TimeDelta::seconds(30);

/// Where and when a request was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    pub position: u64,
    pub at: DateTime<Utc>,
}

impl Admission {
    /// Whether it may have been planned before a change that was recorded at this time.
    pub fn may_be_outdated(self, recorded_at: DateTime<Utc>) -> bool {
        self.at <= recorded_at + OUTDATED_PLANS_MAX
    }

    /// Whether the change can concern a request for its backend.
    fn may_be_concerned_by(self, change: &PastChange) -> bool {
        self.at >= change.from && (self.position < change.version || self.may_be_outdated(change.recorded_at))
    }
}

/// Changes of one backend, in order.
#[derive(Default)]
pub struct ChangesOfBackend {
    changes: Vec<PastChange>,
    /// For each change, the earliest time that it or a later one concerns.
    earliest: Vec<DateTime<Utc>>,
}

impl ChangesOfBackend {
    pub fn new(changes: Vec<PastChange>) -> Self {
        let mut earliest: Vec<DateTime<Utc>> = changes.iter().map(|change| change.from).collect();
        for index in (1..earliest.len()).rev() {
            earliest[index - 1] = earliest[index - 1].min(earliest[index]);
        }
        Self { changes, earliest }
    }

    /// Whether one of them may concern the admission of a request for the backend.
    pub fn may_concern(&self, admission: Admission) -> bool {
        let earlier = self.changes.partition_point(|change| change.version <= admission.position);
        self.earliest.get(earlier).is_some_and(|earliest| admission.at >= *earliest)
            || (self.changes[..earlier].iter().rev())
                .take_while(|change| admission.may_be_outdated(change.recorded_at))
                .any(|change| admission.may_be_concerned_by(change))
    }
}

/// The admissions of requests that are open.
pub struct OpenAdmissions(Vec<Admission>);

impl OpenAdmissions {
    pub fn new(admissions: impl Iterator<Item = Admission>) -> Self {
        let mut admissions: Vec<Admission> = admissions.collect();
        admissions.sort_unstable_by_key(|admission| admission.position);
        Self(admissions)
    }

    /// Whether the change may concern one of them: if any, the first one since the change begins to concern requests.
    pub fn may_be_concerned_by(&self, change: &PastChange) -> bool {
        let first = self.0.partition_point(|admission| admission.at < change.from);
        self.0.get(first).is_some_and(|admission| admission.may_be_concerned_by(change))
    }
}

//! Dates that a decision depends on: the time of a decision is recorded only near one of them.

use chrono::{DateTime, TimeDelta, Utc};

/// How near a date must be for a request to record the time that it was decided by. It is far above the time between a decision and
/// its record, so that a request that records none was decided as at the time of its record.
pub const NEAR: TimeDelta = TimeDelta::hours(1);

/// A request may be planned so long before its admission is recorded: the ledger has ten seconds for that. What was in force within
/// that time may have been what it was planned by.
pub const KNOWN_BEFORE: TimeDelta = TimeDelta::seconds(15);

/// Whether a request that was recorded at `at` may have been planned by what was replaced at `replaced`.
pub fn may_have_known(replaced: DateTime<Utc>, at: DateTime<Utc>) -> bool {
    (at - replaced) <= KNOWN_BEFORE
}

/// Whether a date is near.
pub fn is_near(date: DateTime<Utc>, at: DateTime<Utc>) -> bool {
    // The difference of two instants never overflows, unlike an instant that is moved.
    (date - at).abs() <= NEAR
}

//! What is left of limits.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::limit::{LimitName, Measure};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use super::binding::Holder;

const LIMIT_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const MEASURE_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-measure");

const MICROS_PER_SECOND: i64 = 1_000_000;

/// One measure of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitLeft {
    #[serde(rename = "limit_id")]
    pub name: LimitName,
    #[serde(rename = "scope")]
    pub holder: Holder,
    pub measure: Measure,
    pub limit: u64,
    pub remaining: u64,
    /// When more will be left than now; `None` where all of it is, and where nobody can know.
    #[serde(serialize_with = "instant")]
    pub resets_at: Option<DateTime<Utc>>,
}

fn instant<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(events::time::rfc3339).serialize(serializer)
}

/// What is left of the tightest limit that binds a caller: the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub measure: Measure,
    pub limit: u64,
    /// Would be let in now.
    pub remaining: u64,
    /// Seconds since 1970 at which more will be left than now, rounded up; now where nobody can know.
    pub reset_unix_s: i64,
}

impl Standing {
    pub(super) fn new(
        measure: Measure,
        limit: u64,
        (remaining, more_in): (u64, Option<Duration>),
        now: DateTime<Utc>,
    ) -> Self {
        let reset = now.checked_add_signed(TimeDelta::from_std(more_in.unwrap_or_default()).unwrap_or_default());
        let reset = reset.unwrap_or(now).timestamp_micros();
        let reset_unix_s = reset.div_euclid(MICROS_PER_SECOND) + i64::from(reset.rem_euclid(MICROS_PER_SECOND) > 0);
        Self { measure, limit, remaining, reset_unix_s }
    }

    /// The one of which the smaller share is left; of equals the one with less left, then the one that takes longer.
    pub(super) fn tighter(self, other: Self) -> Self {
        let share = |of: &Self, by: &Self| u128::from(of.remaining) * u128::from(by.limit);
        let order = share(&self, &other)
            .cmp(&share(&other, &self))
            .then(self.remaining.cmp(&other.remaining))
            .then(other.reset_unix_s.cmp(&self.reset_unix_s));
        if order.is_le() { self } else { other }
    }

    pub fn put_into(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT_HEADER, HeaderValue::from(self.limit));
        headers.insert(REMAINING_HEADER, HeaderValue::from(self.remaining));
        headers.insert(RESET_HEADER, HeaderValue::from(self.reset_unix_s));
        headers.insert(MEASURE_HEADER, HeaderValue::from_static(self.measure.as_str()));
    }
}

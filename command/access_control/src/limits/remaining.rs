//! Remaining amounts of limits, for `GET /v1/me` and the `x-ratelimit-*` headers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::limit::{LimitName, Measure};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use super::binding::{ApplicableLimit, LimitHolder, locked};
use super::later;
use super::slots::{Counts, Slots};

const LIMIT_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const MEASURE_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-measure");

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The rest of one measure of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemainingLimit {
    #[serde(rename = "limit_id")]
    pub name: LimitName,
    #[serde(rename = "scope")]
    pub holder: LimitHolder,
    pub measure: Measure,
    pub limit: u64,
    pub remaining: u64,
    /// When more will be left than now; `None` if all of it is left, or nobody knows.
    #[serde(serialize_with = "instant")]
    pub resets_at: Option<DateTime<Utc>>,
}

impl RemainingLimit {
    /// The rest of each measure of these limits. `left` says what is left by the counts of a limit that has some, and how long until
    /// there is more.
    pub(super) fn all_of<C: Counts>(
        limits: Vec<ApplicableLimit>,
        slots: &Slots<C>,
        now: DateTime<Utc>,
        left: impl Fn(&mut C, Measure, u64) -> (u64, Option<Duration>),
    ) -> Vec<Self> {
        let mut all = Vec::new();
        for ApplicableLimit { key, name, holder, bounds, .. } in limits {
            let slot = slots.get(key);
            let mut slot = slot.as_deref().map(locked);
            for (measure, limit) in bounds.iter() {
                let (remaining, more_in) = slot.as_mut().map_or((limit, None), |slot| left(slot, measure, limit));
                let resets_at = more_in.filter(|wait| !wait.is_zero() && remaining < limit);
                let resets_at = resets_at.and_then(|wait| later(now, wait));
                all.push(Self { name, holder: holder.clone(), measure, limit, remaining, resets_at });
            }
        }
        all
    }
}

fn instant<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(events::time::rfc3339).serialize(serializer)
}

/// The rest of the tightest limit of a caller: the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TightestLimit {
    pub measure: Measure,
    pub limit: u64,
    /// The amount that would be admitted now.
    pub remaining: u64,
    /// Unix time in seconds, rounded up, at which more will be left than now; the current time if nobody knows.
    pub reset_unix_s: i64,
}

impl TightestLimit {
    pub(super) fn new(
        measure: Measure,
        limit: u64,
        remaining: u64,
        more_in: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Self {
        let reset = later(now, more_in.unwrap_or_default()).unwrap_or(now).timestamp_micros();
        let reset_unix_s = reset.div_euclid(MICROS_PER_SECOND) + i64::from(reset.rem_euclid(MICROS_PER_SECOND) > 0);
        Self { measure, limit, remaining, reset_unix_s }
    }

    /// The one with the smaller share left; of equals, the one with less left, then the one that resets later.
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

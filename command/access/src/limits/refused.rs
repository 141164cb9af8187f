//! A request that a limit keeps out, in the words of a refusal.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::limit::{LimitName, Measure};
use events::refusal::{ErrorCode, Refusal};
use events::time::rfc3339;
use serde_json::Value;

use super::binding::{Holder, LimitExceeded};
use super::slot::Short;
use super::window::Fits;

/// Advice for who waits for another request to end.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When the request that was refused would be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// As far as this request and what was counted until now go.
    At { wait: Duration, resets_at: DateTime<Utc> },
    /// When one of those that are being answered has ended.
    WhenOneEnds,
    /// It asks for more than the limit is in all.
    Never,
}

/// A limit that has not enough left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRefused {
    pub name: LimitName,
    pub holder: Holder,
    pub measure: Measure,
    pub limit: u64,
    /// Requests or tokens.
    pub requested: u64,
    pub again: Again,
}

impl LimitRefused {
    pub(super) fn of(limit_exceeded: &LimitExceeded<'_>, requested: u64, now: DateTime<Utc>) -> Self {
        let LimitExceeded { binding, measure, limit, short } = limit_exceeded;
        let again = match short {
            Short::UntilOneEnds => Again::WhenOneEnds,
            Short::Window(Fits::Never) => Again::Never,
            Short::Window(Fits::After(wait)) => {
                let span = TimeDelta::from_std(*wait).unwrap_or_default();
                Again::At { wait: *wait, resets_at: now.checked_add_signed(span).unwrap_or(now) }
            }
        };
        Self { name: binding.name, holder: binding.holder, measure: *measure, limit: *limit, requested, again }
    }

    fn message(&self) -> String {
        let Self { limit, requested, .. } = self;
        let of = match self.measure {
            Measure::RequestsPerMinute => "requests a minute",
            Measure::RequestsPerHour => "requests an hour",
            Measure::RequestsPerDay => "requests a day",
            Measure::TokensPerMinute => "tokens a minute",
            Measure::TokensPerDay => "tokens a day",
            Measure::ConcurrentRequests => "requests at once",
        };
        match self.again {
            Again::At { wait, .. } => {
                format!("rate limit of {limit} {of} reached; retry in {} s", whole_seconds(wait))
            }
            Again::WhenOneEnds => format!("rate limit of {limit} {of} reached; retry when one of them has ended"),
            Again::Never => format!(
                "this request may take {requested} {}, and its rate limit is {limit} {of} in all: it can only be sent \
                 with a lower output cap or a shorter prompt",
                if self.measure.is_of_tokens() { "tokens" } else { "requests" }
            ),
        }
    }
}

impl From<&LimitRefused> for Refusal {
    fn from(refused: &LimitRefused) -> Self {
        let (wait, resets_at) = match refused.again {
            Again::At { wait, resets_at } => (Some(wait), Some(rfc3339(resets_at))),
            Again::WhenOneEnds => (Some(TRY_AGAIN_AFTER), None),
            Again::Never => (None, None),
        };
        let refusal = Self::new(ErrorCode::RateLimited, refused.message())
            .with("limit_id", refused.name.to_string())
            .with("scope", serde_json::to_value(refused.holder).unwrap_or(Value::Null))
            .with("measure", refused.measure.as_str())
            .with("limit", refused.limit)
            .with("requested", refused.requested)
            .with("retry_after", wait.map(whole_seconds))
            .with("resets_at", resets_at);
        match wait {
            Some(wait) => refusal.retry_after(wait),
            None => refusal,
        }
    }
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0)).max(1)
}

//! The refusal of a request that exceeds a rate limit, or that no limit can be counted for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::limit::{LimitName, Measure};
use events::refusal::{ErrorCode, Refusal, retry_after_seconds};
use events::scope_index::LOOKED_AT_EACH;
use events::time::rfc3339;
use serde_json::Value;

use super::binding::{LimitExceeded, LimitHolder};
use super::slot::Shortage;
use super::window::Fits;
use super::{BINDING_LIMITS_MAX, later};

/// When to send the refused request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The limit admits it then, as far as it has counted until now.
    At { wait: Duration, resets_at: DateTime<Utc> },
    /// When one of the running requests has ended.
    WhenOneEnds,
    /// Never: the request exceeds the whole limit.
    Never,
}

/// A request that was refused because a limit has too little left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimited {
    pub name: LimitName,
    pub holder: LimitHolder,
    pub measure: Measure,
    pub limit: u64,
    /// A number of requests or of tokens.
    pub requested: u64,
    pub advice: RetryAdvice,
}

impl RateLimited {
    pub(super) fn of(limit_exceeded: &LimitExceeded<'_>, requested: u64, now: DateTime<Utc>) -> Self {
        let LimitExceeded { limit, measure, bound, shortage } = limit_exceeded;
        let advice = match shortage {
            Shortage::Concurrency => RetryAdvice::WhenOneEnds,
            Shortage::Window(Fits::Never) => RetryAdvice::Never,
            Shortage::Window(Fits::After(wait)) => {
                RetryAdvice::At { wait: *wait, resets_at: later(now, *wait).unwrap_or(now) }
            }
        };
        Self { name: limit.name, holder: limit.holder.clone(), measure: *measure, limit: *bound, requested, advice }
    }

    /// The tokens by which a request exceeds the whole of its limit; `None` if the limit has them at times, or counts no tokens.
    pub fn excess_tokens(&self) -> Option<u64> {
        let never_fits = self.measure.is_of_tokens() && self.advice == RetryAdvice::Never;
        never_fits.then(|| self.requested.saturating_sub(self.limit))
    }

    fn message(&self) -> String {
        let Self { limit, requested, .. } = self;
        let of = self.measure.as_str().replace('_', " ");
        match self.advice {
            RetryAdvice::At { wait, .. } => {
                format!("rate limit of {limit} {of} reached; retry in {} s", retry_after_seconds(wait))
            }
            RetryAdvice::WhenOneEnds => format!("rate limit of {limit} {of} reached; retry when one of them has ended"),
            RetryAdvice::Never => format!(
                "this request may take {requested} {}, more than its whole rate limit of {limit} {of}: send it with a \
                 lower output cap or a shorter prompt",
                if self.measure.is_of_tokens() { "tokens" } else { "requests" }
            ),
        }
    }
}

/// Why a request is refused by its rate limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitRefusal {
    RateLimited(RateLimited),
    /// Its limits cannot be counted now: this one refuses everything while its counts are not shared.
    Unavailable(LimitName),
    /// More limits bind it than [`BINDING_LIMITS_MAX`](super::BINDING_LIMITS_MAX), or too many would have to be looked at.
    TooMany,
}

impl From<&LimitRefusal> for Refusal {
    fn from(refusal: &LimitRefusal) -> Self {
        match refusal {
            LimitRefusal::RateLimited(limited) => Self::from(limited),
            LimitRefusal::Unavailable(name) => {
                let message =
                    "the rate limit is closed while its counts are not shared; nothing was sent to a provider";
                Self::new(ErrorCode::LimitsUnavailable, message).with("limit_id", name.to_string()).try_again()
            }
            LimitRefusal::TooMany => {
                let reason = format!(
                    "more than {BINDING_LIMITS_MAX} rate limits bind this request, or more than {} have its model or some of its \
                     metadata: delete some, or send it with less metadata",
                    BINDING_LIMITS_MAX * LOOKED_AT_EACH
                );
                Self::invalid("", reason)
            }
        }
    }
}

impl From<&RateLimited> for Refusal {
    fn from(limited: &RateLimited) -> Self {
        let (wait, resets_at) = match limited.advice {
            RetryAdvice::At { wait, resets_at } => (Some(wait), Some(rfc3339(resets_at))),
            RetryAdvice::WhenOneEnds => (Some(Refusal::TRY_AGAIN_AFTER), None),
            RetryAdvice::Never => (None, None),
        };
        let refusal = Self::new(ErrorCode::RateLimited, limited.message())
            .with("limit_id", limited.name.to_string())
            .with("scope", serde_json::to_value(&limited.holder).unwrap_or(Value::Null))
            .with("measure", limited.measure.as_str())
            .with("limit", limited.limit)
            .with("requested", limited.requested)
            .with("retry_after", wait.map(retry_after_seconds))
            .with("resets_at", resets_at);
        match wait {
            Some(wait) => refusal.retry_after(wait),
            None => refusal,
        }
    }
}

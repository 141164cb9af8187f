//! The refusals that clients get for failed calls.

use std::time::Duration;

use dialects::{Rejection, UpstreamRefusal, UpstreamRefusalKind};
use events::refusal::{ErrorCode, Refusal, retry_after_seconds};
use provider_client::SendError;

use super::{CallFailure, Cause};
use crate::body::memory::BoundOf;

impl CallFailure {
    /// The refusal for a request whose only failure this is.
    pub fn refusal_alone(&self) -> Refusal {
        if let Some(wait) = self.rate_limited() {
            return rate_limited(wait);
        }
        if self.is_timeout() {
            return Refusal::new(ErrorCode::UpstreamTimeout, "the upstream did not answer in time");
        }
        let mut refusal = match &self.cause {
            Cause::NotWritten { error, charge } => return error.refusal(charge),
            Cause::NotRead(error) => return error.refusal("the upstream's work may be charged"),
            Cause::AskedTooMuch(too_much) => return too_much.refusal(),
            Cause::Rejected(rejection) => rejected(rejection, self.message()),
            Cause::NoMemory(bound) => no_memory(*bound, "the upstream's work may be charged"),
            Cause::Send(SendError::ProviderFull) => return overloaded(self.message(), "provider"),
            Cause::Send(SendError::NoSocket | SendError::NoLookUp) => return overloaded(self.message(), "gateway"),
            Cause::Refused(_) if self.is_loop() => Refusal::new(ErrorCode::LoopDetected, self.message()),
            Cause::Refused(UpstreamRefusal {
                kind: UpstreamRefusalKind::Transient { .. } | UpstreamRefusalKind::Other,
                status,
                ..
            }) => Refusal::new(ErrorCode::UpstreamError, format!("the upstream answered with status {status}")),
            _ => Refusal::new(ErrorCode::UpstreamError, self.message()),
        };
        refusal = refusal.with("reason", self.reason());
        match self.status {
            Some(status) => refusal.with("upstream_status", status),
            None => refusal,
        }
    }
}

/// Returns the failure that ends a request: a final one, or the last one. When two calls were made at the same time,
/// the other one may have failed later.
pub fn deciding(failures: &[CallFailure]) -> Option<&CallFailure> {
    failures.iter().find(|failure| failure.is_final()).or_else(|| failures.last())
}

/// The refusal for a request whose last target has failed.
///
/// `has_alternatives` if a target besides the failed ones was passed over, or had an open breaker, so that a later request may be served.
pub fn refusal_of(failures: &[CallFailure], targets: usize, has_alternatives: bool) -> Refusal {
    let Some(last) = deciding(failures) else {
        return Refusal::new(ErrorCode::AllProvidersUnavailable, "no upstream could be called").try_again();
    };
    // A single failure is shown as it is, also when time ran out before the other targets were called. A rejection speaks
    // for all targets.
    let is_single = (targets == 1 || failures.len() == 1) && !has_alternatives;
    if is_single || last.is_final() {
        return last.refusal_alone();
    }
    // The shortest wait: its target may serve then.
    let waits: Option<Vec<Duration>> = failures.iter().map(CallFailure::rate_limited).collect();
    match waits.and_then(|waits| waits.into_iter().min()) {
        Some(wait) => rate_limited(wait),
        None => Refusal::new(ErrorCode::AllProvidersUnavailable, "every upstream of this model failed").try_again(),
    }
}

/// The refusal for a rejection: the upstream's own message, as far as it can be shown, otherwise `default`.
fn rejected(rejection: &Rejection, default: &str) -> Refusal {
    let message = rejection.message.as_deref().unwrap_or(default);
    let mut refusal = Refusal::new(ErrorCode::UpstreamRejected, message);
    for (name, value) in [("upstream_code", &rejection.code), ("upstream_param", &rejection.param)] {
        if let Some(value) = value {
            refusal = refusal.with(name, value.as_str());
        }
    }
    refusal
}

fn rate_limited(wait: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "the upstream asks to slow down")
        .with("retry_after", retry_after_seconds(wait))
        .retry_after(wait)
}

/// The refusal when no memory is left for answers; `charge` says what that means for the bill.
pub fn no_memory(bound: BoundOf, charge: &str) -> Refusal {
    let whom = bound.of_whom();
    let message = format!("the gateway has no memory left for answers{whom}, and {charge}: try again");
    overloaded(message, bound.as_str())
}

fn overloaded(message: impl Into<String>, scope: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, message).with("scope", scope).try_again()
}

//! Why a call failed, whether it is tried again, and what the client is told. An upstream's own words go nowhere, but for
//! those by which it rejects the request, redacted.

use std::time::Duration;

use dialects::{Rejection, UpstreamFault, UpstreamRefusal, UpstreamRefusalKind};
use events::refusal::{ErrorCode, Refusal};
use upstream::SendError;

use super::credentials::Credentials;
use crate::body::memory::BoundOf;

/// A wait that is short enough to be sat out on the same target.
const SHORT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Before a second try, plus as much again by chance.
const BACKOFF: Duration = Duration::from_millis(100);
/// What a client is told to wait for an upstream that does not say.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One call to one target that gave nothing to relay.
#[derive(Clone, Debug)]
pub struct CallFailure {
    pub cause: Cause,
    /// The upstream's HTTP status, where it gave one.
    pub status: Option<u16>,
}

#[derive(Clone, Debug)]
pub enum Cause {
    /// The request cannot be said in the target's dialect.
    Untranslatable,
    /// The provider's key cannot be opened.
    NoCredentials,
    /// The provider was ended or changed after the request was planned.
    Withdrawn,
    Send(SendError),
    Timeout,
    Refused(UpstreamRefusal),
    /// The client's request is wrong, says the upstream: by its status, or inside its answer.
    Rejected(Box<Rejection>),
    Fault(UpstreamFault),
    /// The gateway has no memory for the answer.
    NoMemory(BoundOf),
}

/// What to do after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    SameTargetAfter(Duration),
    OtherTarget,
    /// Every other target would only be paid for being asked the same.
    NoOther,
}

impl CallFailure {
    pub const fn of(cause: Cause) -> Self {
        Self { cause, status: None }
    }

    /// What is kept of the refusal has nothing in it that the upstream was sent in secret.
    pub fn refused(refusal: UpstreamRefusal, sent: &Credentials) -> Self {
        let status = Some(refusal.status);
        let cause = match &refusal.kind {
            UpstreamRefusalKind::Rejected(words) => Cause::Rejected(Box::new(words.redacted(&sent.redactor()))),
            _ => Cause::Refused(refusal),
        };
        Self { cause, status }
    }

    /// The same of an answer that is none.
    pub fn fault(fault: UpstreamFault, sent: &Credentials) -> Self {
        Self::of(match fault {
            UpstreamFault::Rejected(words) => Cause::Rejected(Box::new(words.redacted(&sent.redactor()))),
            fault => Cause::Fault(fault),
        })
    }

    /// Only the client can mend it.
    pub const fn is_rejection(&self) -> bool {
        matches!(self.cause, Cause::Rejected(_))
    }

    /// The upstream's own code of a rejection.
    pub fn upstream_code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Rejected(rejection) => rejection.code.as_deref(),
            _ => None,
        }
    }

    /// A word for events.
    pub const fn reason(&self) -> &'static str {
        match &self.cause {
            Cause::Untranslatable => "untranslatable",
            Cause::NoCredentials => "credentials",
            Cause::Withdrawn => "provider_changed",
            Cause::Send(error) => error.reason(),
            Cause::Timeout => "timeout",
            Cause::Refused(_) => "status",
            Cause::Rejected(_) if self.status.is_some() => "status",
            Cause::Rejected(_) | Cause::Fault(UpstreamFault::Rejected(_)) => "in_band_error",
            Cause::Fault(UpstreamFault::Malformed(_)) => "malformed",
            Cause::Fault(UpstreamFault::Truncated) => "truncated",
            Cause::Fault(UpstreamFault::InBandError { .. }) => "in_band_error",
            Cause::Fault(UpstreamFault::TooLarge) => "too_large",
            Cause::NoMemory(_) => "no_memory",
        }
    }

    pub const fn is_timeout(&self) -> bool {
        matches!(self.cause, Cause::Timeout)
    }

    /// The upstream has done its work, and nobody can take it in.
    pub const fn is_for_want_of_memory(&self) -> bool {
        matches!(self.cause, Cause::NoMemory(_))
    }

    /// The upstream said that it did not do it: nothing can be billed.
    pub const fn was_refused(&self) -> bool {
        matches!(&self.cause, Cause::Refused(_) | Cause::Rejected(_) | Cause::Fault(UpstreamFault::InBandError { .. }))
    }

    /// The upstream asks to slow down; how long, where it says.
    pub fn rate_limited(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Refused(UpstreamRefusal { kind: UpstreamRefusalKind::RateLimited { retry_after }, .. }) => {
                Some(retry_after.unwrap_or(DEFAULT_RETRY_AFTER))
            }
            _ => None,
        }
    }

    /// The first failure of a target may be tried again there; `jitter` is in 0..=255.
    pub fn next(&self, calls_of_target: u32, jitter: u8) -> Next {
        if calls_of_target > 1 {
            return Next::OtherTarget;
        }
        let backoff = BACKOFF + BACKOFF * u32::from(jitter) / 256;
        match &self.cause {
            // It was waited for already.
            Cause::Send(SendError::Busy) => Next::OtherTarget,
            Cause::Send(error) if error.nothing_was_sent() && !matches!(error, SendError::Forbidden) => {
                Next::SameTargetAfter(backoff)
            }
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { retry_after: Some(wait) } if wait <= SHORT_RETRY_AFTER => {
                    Next::SameTargetAfter(wait.max(backoff))
                }
                UpstreamRefusalKind::Transient { .. } => Next::SameTargetAfter(backoff),
                _ => Next::OtherTarget,
            },
            Cause::Rejected(_) | Cause::NoMemory(_) => Next::NoOther,
            // A time-out has cost enough; what came malformed may have been billed.
            _ => Next::OtherTarget,
        }
    }

    /// The same as a sentence, with what to look at where that is known. Whoever sets a provider up reads it, and on the
    /// OpenAI surface it is all that there is.
    pub const fn sentence(&self) -> &'static str {
        match &self.cause {
            Cause::Untranslatable => "this request cannot be said in the upstream's dialect",
            Cause::Withdrawn => "the provider was ended or changed while the request was on its way: try again",
            Cause::NoCredentials => "the upstream's API key cannot be opened: give the provider a new api_key",
            Cause::Send(SendError::Resolve) => "the upstream's name cannot be resolved: is its base_url right?",
            Cause::Send(SendError::Forbidden) => {
                "the upstream is on a private network, which its provider must allow (allow_private_network)"
            }
            Cause::Send(SendError::Connect | SendError::ConnectTimeout) => {
                "the upstream cannot be reached: does it run, and is its base_url right?"
            }
            Cause::Send(SendError::Tls) => {
                "no TLS connection to the upstream: is its base_url rightly https, and its certificate good?"
            }
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::Credentials => {
                    "the upstream refuses the gateway's credentials: is its api_key right, and may it use the model?"
                }
                UpstreamRefusalKind::OutOfMoney => "the gateway's account at the upstream has no money left",
                UpstreamRefusalKind::BadRequest if refusal.status == 404 => {
                    "the upstream knows no such path or model: are its base_url (for kind openai it mostly ends in /v1) \
                     and the target's model right?"
                }
                UpstreamRefusalKind::BadRequest => {
                    "the upstream takes no such request: are its base_url and its kind right?"
                }
                _ => "the upstream failed to answer",
            },
            Cause::Rejected(_) if matches!(self.status, Some(413)) => "the request is too large for the upstream",
            Cause::Rejected(_) => "the upstream refused the request as it is",
            Cause::Send(SendError::Busy) => "as many requests as the upstream takes at a time are under way there",
            Cause::Send(SendError::Refused) => "the upstream takes no request now",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Timeout | Cause::Fault(_) => {
                "the upstream failed to answer"
            }
            Cause::NoMemory(_) => "the gateway has no memory for the answer",
        }
    }

    /// What to look at first, for whoever runs the gateway.
    pub const fn look_at(&self) -> &'static str {
        match &self.cause {
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { .. } => {
                    "the gateway's quota at the upstream is used up: raise it there, or give the model a second target"
                }
                UpstreamRefusalKind::Transient { .. } => {
                    "the upstream is in trouble: its status page; a second target of the model would take over"
                }
                _ => self.sentence(),
            },
            Cause::Timeout => "the upstream took longer than its provider's timeout_ms or idle_timeout_ms",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Fault(_) => {
                "the upstream broke off, or sent what is no answer: is base_url right, and what does its own log say?"
            }
            _ => self.sentence(),
        }
    }

    /// What the client of a request with one target is told.
    fn refusal_alone(&self) -> Refusal {
        if let Some(wait) = self.rate_limited() {
            return rate_limited(wait);
        }
        if self.is_timeout() {
            return Refusal::new(ErrorCode::UpstreamTimeout, "the upstream did not answer in time");
        }
        let mut refusal = match &self.cause {
            Cause::Rejected(rejection) => rejected(rejection, self.sentence()),
            Cause::NoMemory(bound) => no_memory(*bound, "what the upstream did may be charged"),
            _ => Refusal::new(ErrorCode::UpstreamError, self.sentence()),
        };
        refusal = refusal.with("reason", self.reason());
        match self.status {
            Some(status) => refusal.with("upstream_status", status),
            None => refusal,
        }
    }
}

/// What the client is told when the last of the targets has failed.
pub fn refusal_of(failures: &[CallFailure], targets: usize) -> Refusal {
    let Some(last) = failures.last() else {
        return Refusal::new(ErrorCode::AllProvidersUnavailable, "no upstream could be asked");
    };
    // Time may have run out before the others were asked: then it failed alone as well. Whoever rejects the request
    // speaks for all.
    if targets == 1 || failures.len() == 1 || last.is_rejection() || last.is_for_want_of_memory() {
        return last.refusal_alone();
    }
    // The shortest wait: the target that asked for it may serve then.
    let waits: Option<Vec<Duration>> = failures.iter().map(CallFailure::rate_limited).collect();
    match waits.and_then(|waits| waits.into_iter().min()) {
        Some(wait) => rate_limited(wait),
        None => Refusal::new(ErrorCode::AllProvidersUnavailable, "every upstream of this model failed")
            .retry_after(DEFAULT_RETRY_AFTER),
    }
}

/// In the upstream's own words, as far as they can be shown.
fn rejected(rejection: &Rejection, otherwise: &str) -> Refusal {
    let message = rejection.message.as_deref().unwrap_or(otherwise);
    let mut refusal = Refusal::new(ErrorCode::UpstreamRejected, message);
    for (name, said) in [("upstream_code", &rejection.code), ("upstream_param", &rejection.param)] {
        if let Some(said) = said {
            refusal = refusal.with(name, said.as_str());
        }
    }
    refusal
}

fn rate_limited(wait: Duration) -> Refusal {
    // As the header says it: whole seconds, never too few.
    let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
    Refusal::new(ErrorCode::RateLimited, "the upstream asks to slow down")
        .with("retry_after", seconds)
        .retry_after(wait)
}

/// No memory is left for answers; `charge` is what that means for the bill.
pub fn no_memory(bound: BoundOf, charge: &str) -> Refusal {
    let whom = bound.of_whom();
    let message = format!("the gateway holds as many bytes of answers{whom} as it may, and {charge}; try again");
    Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).retry_after(DEFAULT_RETRY_AFTER)
}

/// What the client of a stream is told that broke after its first byte.
pub fn refusal_in_stream(cause: &Cause) -> Refusal {
    CallFailure::of(cause.clone()).refusal_alone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, kind: UpstreamRefusalKind) -> CallFailure {
        CallFailure { cause: Cause::Refused(UpstreamRefusal { status, kind }), status: Some(status) }
    }

    fn rejected_with(status: u16) -> CallFailure {
        CallFailure { cause: Cause::Rejected(Box::default()), status: Some(status) }
    }

    fn limited(seconds: u64) -> CallFailure {
        refused(429, UpstreamRefusalKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) })
    }

    /// Holds: http.upstream-alone, http.upstreams-all
    #[test]
    fn what_fails_alone_is_said_as_it_is_and_what_fails_together_is_not() {
        let (silent, broken) = (CallFailure::of(Cause::Timeout), CallFailure::of(Cause::Send(SendError::Closed)));
        for (failures, targets, code) in [
            (vec![silent.clone()], 1, ErrorCode::UpstreamTimeout),
            (vec![silent.clone()], 2, ErrorCode::UpstreamTimeout),
            (vec![broken.clone()], 1, ErrorCode::UpstreamError),
            (vec![limited(7)], 1, ErrorCode::RateLimited),
            (vec![limited(7), limited(3)], 2, ErrorCode::RateLimited),
            (vec![limited(7), broken.clone()], 2, ErrorCode::AllProvidersUnavailable),
            (vec![silent, broken], 2, ErrorCode::AllProvidersUnavailable),
            (vec![], 2, ErrorCode::AllProvidersUnavailable),
        ] {
            assert_eq!(refusal_of(&failures, targets).code, code, "{failures:?} of {targets}");
        }
        let limited = refusal_of(&[limited(7), limited(3)], 2);
        assert_eq!((limited.retry_after, &limited.details["retry_after"]), (Some(Duration::from_secs(3)), &3.into()));
    }

    /// Holds: http.upstream-rejected
    #[test]
    fn whoever_rejects_the_request_speaks_for_all_and_nobody_else_is_asked() {
        let rejection = Rejection { message: Some("too long".into()), code: Some("too_long".into()), param: None };
        let failure = CallFailure { cause: Cause::Rejected(Box::new(rejection)), status: Some(422) };
        assert_eq!((failure.next(1, 0), failure.reason()), (Next::NoOther, "status"));
        let broken = CallFailure::of(Cause::Send(SendError::Closed));
        let refusal = refusal_of(&[broken, failure.clone()], 3);
        assert_eq!((refusal.code, &*refusal.message), (ErrorCode::UpstreamRejected, "too long"));
        assert_eq!(
            serde_json::Value::Object(refusal.details),
            serde_json::json!({ "reason": "status", "upstream_status": 422, "upstream_code": "too_long" })
        );
        let in_band = CallFailure { status: None, ..failure };
        let refusal = refusal_in_stream(&in_band.cause);
        assert_eq!((refusal.code, &refusal.details["reason"]), (ErrorCode::UpstreamRejected, &"in_band_error".into()));
    }

    #[test]
    fn who_sets_a_provider_up_is_told_what_to_look_at() {
        for (failure, said) in [
            (CallFailure::of(Cause::Send(SendError::Connect)), "does it run"),
            (CallFailure::of(Cause::Send(SendError::Resolve)), "resolved"),
            (CallFailure::of(Cause::Send(SendError::Tls)), "https"),
            (CallFailure::of(Cause::Send(SendError::Forbidden)), "allow_private_network"),
            (refused(401, UpstreamRefusalKind::Credentials), "api_key"),
            (refused(404, UpstreamRefusalKind::BadRequest), "base_url"),
            (refused(405, UpstreamRefusalKind::BadRequest), "its kind"),
            (rejected_with(400), "refused the request"),
            (rejected_with(413), "too large"),
        ] {
            let message = refusal_of(std::slice::from_ref(&failure), 1).message;
            assert!(message.contains(said), "{failure:?}: {message}");
        }
    }

    #[test]
    fn only_what_cannot_have_been_billed_is_tried_again_on_the_same_target() {
        let short = Some(Duration::from_millis(200));
        for (failure, again) in [
            (CallFailure::of(Cause::Send(SendError::Connect)), true),
            (CallFailure::of(Cause::Send(SendError::Forbidden)), false),
            (CallFailure::of(Cause::Send(SendError::Closed)), false),
            (CallFailure::of(Cause::Send(SendError::Busy)), false),
            (CallFailure::of(Cause::Send(SendError::Refused)), true),
            (CallFailure::of(Cause::Timeout), false),
            (refused(503, UpstreamRefusalKind::Transient { retry_after: None }), true),
            (refused(429, UpstreamRefusalKind::RateLimited { retry_after: short }), true),
            (limited(2), false),
            (refused(429, UpstreamRefusalKind::OutOfMoney), false),
            (refused(405, UpstreamRefusalKind::BadRequest), false),
            (rejected_with(400), false),
            (CallFailure::of(Cause::Fault(UpstreamFault::Truncated)), false),
        ] {
            assert_eq!(matches!(failure.next(1, 0), Next::SameTargetAfter(_)), again, "{failure:?}");
            assert!(!matches!(failure.next(2, 0), Next::SameTargetAfter(_)));
        }
    }
}

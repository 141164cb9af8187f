//! Failed calls: their causes, whether they are retried, and the refusal that the client gets. An upstream's own words are
//! never passed on, except the message, the code and the parameter of a rejected request, all of them redacted.

use std::borrow::Cow;
use std::time::Duration;

use dialects::provider_dialects::{KeyBlame, KeyFault};
use dialects::{Rejection, UpstreamFault, UpstreamRefusal, UpstreamRefusalKind};
use events::event::admin::{Provider, SetAsideReason, UpstreamKey};
use events::event::inference::CLIENT_CLOSED;
use events::refusal::{ErrorCode, Refusal, retry_after_seconds};
use provider_client::SendError;
use secrets::VaultError;

use super::access_tokens::TokenError;
use super::credentials::{Credentials, CredentialsError};
use super::large_bodies::LargeBodyError;
use super::provider_keys::{KeyFailure, remedy};
use super::too_much::TooMuch;
use crate::body::memory::BoundOf;

/// The longest `Retry-After` that is waited for at the same target if another one can be called, and if none can.
const SHORT_RETRY_AFTER: Duration = Duration::from_secs(1);
const LAST_RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often a target may be called if no other one can be, and it says when to come back.
const LAST_CALLS_MAX: u32 = 3;
/// The HTTP status `Loop Detected`.
const LOOP_DETECTED: u16 = 508;
/// The shortest pause before another call; up to as much again is added at random.
const BACKOFF: Duration = Duration::from_millis(100);
/// A `Retry-After` is exceeded by up to this part of it at random, so that those who were told the same do not come back together.
const JITTER_PART: u32 = 4;

/// The calls so far of a request to one target, of which the last one has failed.
#[derive(Clone, Copy, Debug)]
pub struct CallsSoFar {
    pub calls: u32,
    /// No other target is left.
    pub is_last: bool,
}

/// A failed call to one target.
#[derive(Clone, Debug)]
pub struct CallFailure {
    pub cause: Cause,
    /// The upstream's HTTP status, if it answered with one.
    pub status: Option<u16>,
}

/// The party to which a failure points, for other requests to the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// They will probably fail as well.
    Target,
    /// They may have to wait: it is not to be asked more often now.
    Limit,
    /// Nothing: the client, this gateway or nobody knows who is to blame.
    Nobody,
}

/// Whether a provider has answered a request that was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The provider answered: the request is to blame.
    Request,
    /// The provider did not answer, or refused the gateway.
    Failed,
    /// Nothing was asked of it, or the gateway lost its answer.
    Unasked,
}

#[derive(Clone, Debug)]
pub enum Cause {
    /// The request cannot be expressed in the target's dialect.
    Untranslatable,
    /// The provider's key cannot be opened.
    NoCredentials,
    /// The provider was made from a variable that this process does not have.
    NoVariable,
    /// The provider's key cannot authenticate a request: it was set before administration checked such keys, or the region
    /// that it signs for was taken away.
    WrongKey(KeyFault),
    /// Every key of the provider has reached a limit of its own: the first has room again after this time.
    KeysAtLimit(Duration),
    /// The provider's settings cannot be written in a request.
    WrongSettings,
    /// The provider's key cannot be exchanged for an access token.
    NoToken(TokenError),
    /// The provider was deleted or changed after the request was planned.
    Withdrawn,
    Send(SendError),
    Timeout,
    Refused(UpstreamRefusal),
    /// The upstream says that the client's request is wrong, by its status or inside its answer.
    Rejected(Box<Rejection>),
    Fault(UpstreamFault),
    /// The gateway has no memory for the answer.
    NoMemory(BoundOf),
    /// The gateway could not read the answer, a large one.
    NotRead(LargeBodyError),
    /// The client asked for so much that the answer is larger than the gateway takes.
    AskedTooMuch(TooMuch),
    /// The gateway could not write the request's body for the target; `charge` says what that means for the bill.
    NotWritten {
        error: LargeBodyError,
        charge: &'static str,
    },
    /// The client left before anything was sent, and a call beside this one goes on.
    ClientLeft,
}

/// The facts about a call that follow from the cause of its failure.
struct Diagnosis {
    reason: &'static str,
    blame: Blame,
    answered: Answered,
    may_have_been_sent: bool,
}

impl Diagnosis {
    const fn unsent(reason: &'static str, answered: Answered) -> Self {
        Self { reason, blame: Blame::Nobody, answered, may_have_been_sent: false }
    }

    const fn sent(reason: &'static str, blame: Blame, answered: Answered) -> Self {
        Self { reason, blame, answered, may_have_been_sent: true }
    }

    /// The diagnosis of an answer or a body that was lost here.
    const fn lost(reason: &'static str) -> Self {
        Self::sent(reason, Blame::Nobody, Answered::Unasked)
    }
}

const fn blame_of(refusal: &UpstreamRefusal) -> Blame {
    match refusal.kind {
        UpstreamRefusalKind::Transient { .. } => Blame::Target,
        UpstreamRefusalKind::Credentials | UpstreamRefusalKind::OutOfMoney => match refusal.key_blame {
            KeyBlame::Likely | KeyBlame::Certain => Blame::Target,
            KeyBlame::None | KeyBlame::ByWords => Blame::Nobody,
        },
        UpstreamRefusalKind::RateLimited { .. } => Blame::Limit,
        // The request may be to blame.
        UpstreamRefusalKind::Rejected(_) | UpstreamRefusalKind::BadRequest | UpstreamRefusalKind::Other => {
            Blame::Nobody
        }
    }
}

impl CallFailure {
    pub const fn of(cause: Cause) -> Self {
        Self { cause, status: None }
    }

    /// The failure for a provider without a key that it can be called with.
    pub const fn without_key(error: &CredentialsError) -> Self {
        Self::of(match error {
            CredentialsError::Vault(VaultError::NotInEnvironment { .. }) => Cause::NoVariable,
            CredentialsError::Vault(_) | CredentialsError::NoKey => Cause::NoCredentials,
            CredentialsError::Withdrawn => Cause::Withdrawn,
            CredentialsError::KeysAtLimit(wait) => Cause::KeysAtLimit(*wait),
        })
    }

    /// The failure for a refusal, with everything secret that the upstream was sent redacted.
    pub fn refused(refusal: UpstreamRefusal, sent: &Credentials) -> Self {
        let status = Some(refusal.status);
        let cause = match &refusal.kind {
            UpstreamRefusalKind::Rejected(words) => Cause::Rejected(Box::new(words.redacted(&sent.redactor()))),
            _ => Cause::Refused(refusal),
        };
        Self { cause, status }
    }

    /// The failure for an answer that cannot be used, redacted likewise.
    pub fn fault(fault: UpstreamFault, sent: &Credentials) -> Self {
        Self::of(match fault {
            UpstreamFault::Rejected(words) => Cause::Rejected(Box::new(words.redacted(&sent.redactor()))),
            fault => Cause::Fault(fault),
        })
    }

    /// True if the upstream, or one behind it, says that the request goes in a circle.
    pub const fn is_loop(&self) -> bool {
        matches!(self.status, Some(LOOP_DETECTED))
    }

    /// True if only the client can correct it.
    pub const fn is_rejection(&self) -> bool {
        matches!(self.cause, Cause::Rejected(_))
    }

    /// The upstream's own error code, if it rejected the request.
    pub fn upstream_code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Rejected(rejection) => rejection.code.as_deref(),
            _ => None,
        }
    }

    /// The `reason` in events, refusals and logs.
    pub const fn reason(&self) -> &'static str {
        self.diagnosis().reason
    }

    /// True if nothing was sent for want of room: the call was no load to the provider.
    pub const fn found_no_room(&self) -> bool {
        matches!(self.cause, Cause::Send(SendError::Busy) | Cause::KeysAtLimit(_))
    }

    /// True if nothing was sent because nobody waits for the answer.
    pub const fn is_of_client_that_left(&self) -> bool {
        matches!(self.cause, Cause::ClientLeft)
    }

    pub const fn is_timeout(&self) -> bool {
        matches!(self.cause, Cause::Timeout)
    }

    /// True if the upstream answered, and the gateway had no memory for the answer, no turn to read it, or no room for as much
    /// as the client asked for.
    pub const fn is_lost_here(&self) -> bool {
        matches!(self.cause, Cause::NoMemory(_) | Cause::NotRead(_) | Cause::AskedTooMuch(_))
    }

    /// True if the gateway failed, and not the upstream: no other target is called.
    pub const fn is_of_gateway(&self) -> bool {
        matches!(self.cause, Cause::NoMemory(_) | Cause::NotRead(_) | Cause::AskedTooMuch(_) | Cause::NotWritten { .. })
    }

    /// True if another target would fail in the same way, and its call would cost money.
    pub const fn is_final(&self) -> bool {
        self.is_rejection() || self.is_of_gateway()
    }

    /// Returns the party to blame, as far as that says something about other requests to the target.
    pub const fn blame(&self) -> Blame {
        self.diagnosis().blame
    }

    /// Whether the provider has answered, for what is shown of its health. What keeps this gateway from calling it counts as its
    /// failure: an operator has to mend either.
    pub const fn answered(&self) -> Answered {
        self.diagnosis().answered
    }

    /// Whether a target may have got the request: false if the cause shows that nothing was sent.
    pub const fn may_have_been_sent(&self) -> bool {
        self.diagnosis().may_have_been_sent
    }

    const fn diagnosis(&self) -> Diagnosis {
        match &self.cause {
            Cause::Untranslatable => Diagnosis::unsent("untranslatable", Answered::Unasked),
            // Of this node's own settings, which other nodes need not have.
            Cause::NoCredentials | Cause::NoVariable | Cause::WrongKey(_) | Cause::NoToken(_) => {
                Diagnosis::unsent("credentials", Answered::Failed)
            }
            Cause::KeysAtLimit(_) => {
                Diagnosis { blame: Blame::Limit, ..Diagnosis::unsent("key_limits", Answered::Failed) }
            }
            Cause::WrongSettings => Diagnosis::unsent("wrong_settings", Answered::Failed),
            Cause::Withdrawn => Diagnosis::unsent("provider_changed", Answered::Unasked),
            Cause::Send(error) => Diagnosis {
                reason: error.reason(),
                blame: match error {
                    SendError::Busy => Blame::Limit,
                    SendError::Forbidden => Blame::Nobody,
                    _ => Blame::Target,
                },
                answered: Answered::Failed,
                may_have_been_sent: !error.nothing_was_sent(),
            },
            Cause::Timeout => Diagnosis::sent("timeout", Blame::Target, Answered::Failed),
            Cause::Refused(_) if self.is_loop() => Diagnosis::sent("status", Blame::Nobody, Answered::Failed),
            Cause::Refused(refusal) => Diagnosis::sent("status", blame_of(refusal), Answered::Failed),
            Cause::Rejected(_) if self.status.is_some() => Diagnosis::sent("status", Blame::Nobody, Answered::Request),
            Cause::Rejected(_) | Cause::Fault(UpstreamFault::Rejected(_)) => {
                Diagnosis::sent("in_band_error", Blame::Nobody, Answered::Request)
            }
            Cause::Fault(UpstreamFault::Malformed(_)) => Diagnosis::sent("malformed", Blame::Target, Answered::Failed),
            Cause::Fault(UpstreamFault::Truncated) => Diagnosis::sent("truncated", Blame::Target, Answered::Failed),
            Cause::Fault(UpstreamFault::InBandError { .. }) => {
                Diagnosis::sent("in_band_error", Blame::Target, Answered::Failed)
            }
            Cause::Fault(UpstreamFault::TooLarge) | Cause::AskedTooMuch(_) => Diagnosis::lost("too_large"),
            Cause::NoMemory(_) => Diagnosis::lost("no_memory"),
            Cause::NotRead(_) => Diagnosis::lost("not_read"),
            Cause::NotWritten { .. } => Diagnosis::lost("not_written"),
            Cause::ClientLeft => Diagnosis::unsent(CLIENT_CLOSED, Answered::Unasked),
        }
    }

    /// True if the upstream says that it did no work, so that nothing can be billed.
    pub const fn was_refused(&self) -> bool {
        matches!(
            &self.cause,
            Cause::Refused(_)
                | Cause::Rejected(_)
                | Cause::KeysAtLimit(_)
                | Cause::Fault(UpstreamFault::InBandError { .. })
        )
    }

    /// Returns the failure of the key that the call was made with; `None` if the key is not to blame.
    pub fn of_key(&self) -> Option<KeyFailure> {
        let not_accepted = |reason, status: u16, blame| KeyFailure::NotAccepted { reason, status, blame };
        Some(match &self.cause {
            Cause::Refused(UpstreamRefusal { status, kind, key_blame }) => match (kind, *key_blame) {
                // Another key may have the permission, more money or a higher limit.
                (
                    UpstreamRefusalKind::Credentials
                    | UpstreamRefusalKind::OutOfMoney
                    | UpstreamRefusalKind::RateLimited { .. },
                    KeyBlame::None,
                ) => KeyFailure::Other,
                (UpstreamRefusalKind::Credentials, blame) => not_accepted(SetAsideReason::Refused, *status, blame),
                (UpstreamRefusalKind::OutOfMoney, blame) => not_accepted(SetAsideReason::OutOfMoney, *status, blame),
                (UpstreamRefusalKind::RateLimited { .. }, _) => KeyFailure::Limited(self.rate_limited()?),
                (
                    UpstreamRefusalKind::Transient { .. }
                    | UpstreamRefusalKind::Rejected(_)
                    | UpstreamRefusalKind::BadRequest
                    | UpstreamRefusalKind::Other,
                    _,
                ) => return None,
            },
            // Nothing of the request was sent.
            Cause::NoToken(TokenError::Refused(status)) => {
                not_accepted(SetAsideReason::Refused, *status, KeyBlame::Certain)
            }
            Cause::NoToken(TokenError::Key) | Cause::WrongKey(_) => KeyFailure::Other,
            Cause::NoToken(
                TokenError::Failed(_) | TokenError::Send(_) | TokenError::Timeout | TokenError::Malformed,
            )
            | Cause::Untranslatable
            | Cause::NoCredentials
            | Cause::NoVariable
            | Cause::KeysAtLimit(_)
            | Cause::WrongSettings
            | Cause::Withdrawn
            | Cause::Send(_)
            | Cause::Timeout
            | Cause::Rejected(_)
            | Cause::Fault(_)
            | Cause::NoMemory(_)
            | Cause::NotRead(_)
            | Cause::AskedTooMuch(_)
            | Cause::NotWritten { .. }
            | Cause::ClientLeft => return None,
        })
    }

    /// How long to wait, if the upstream limits our rate, or the keys for it are at their limits.
    pub fn rate_limited(&self) -> Option<Duration> {
        match &self.cause {
            Cause::KeysAtLimit(wait) => Some(*wait),
            Cause::Refused(UpstreamRefusal { kind: UpstreamRefusalKind::RateLimited { retry_after }, .. }) => {
                Some(retry_after.unwrap_or(Refusal::TRY_AGAIN_AFTER))
            }
            _ => None,
        }
    }

    /// After how long to call the same target again; `None` if that would not help. Only the first failure of a target is retried
    /// there, and one more if the target says when to come back and no other one is left; `jitter` is in 0..=255.
    pub fn retry_after(&self, CallsSoFar { calls, is_last }: CallsSoFar, jitter: u8) -> Option<Duration> {
        // Each call of a circle makes more of them.
        if self.is_loop() {
            return None;
        }
        let at_random = |most: Duration| most * u32::from(jitter) / 255;
        let backoff = (calls == 1).then(|| BACKOFF + at_random(BACKOFF));
        let (calls_max, longest) = if is_last { (LAST_CALLS_MAX, LAST_RETRY_AFTER) } else { (2, SHORT_RETRY_AFTER) };
        let after = |wait: Duration| {
            (calls < calls_max && wait <= longest)
                .then(|| wait.max(BACKOFF) + at_random(wait.max(BACKOFF) / JITTER_PART))
        };
        match &self.cause {
            // The call has waited for a free connection already; an address stays forbidden.
            Cause::Send(SendError::Busy | SendError::Forbidden) => None,
            Cause::Send(error) => backoff.filter(|_| error.nothing_was_sent()),
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { retry_after } => retry_after.and_then(after),
                UpstreamRefusalKind::Transient { retry_after } => retry_after.map_or(backoff, after),
                _ => None,
            },
            // A time-out has taken enough time already; a malformed answer may have been billed.
            _ => None,
        }
    }

    /// The failure as a message, with what to check where that is known. Whoever sets up a provider reads it, and on the
    /// OpenAI surface it is all that a client gets.
    pub const fn message(&self) -> &'static str {
        match &self.cause {
            Cause::Untranslatable => "this request cannot be expressed in the upstream's dialect",
            Cause::Withdrawn => "the provider was deleted or changed while the request was on its way: try again",
            Cause::NoCredentials => "the upstream's API key cannot be decrypted: give the provider a new api_key",
            Cause::NoVariable => {
                "the environment variable with the upstream's API key is not set on this node, or is set for another address: \
                 start every node with the same variables"
            }
            Cause::WrongKey(KeyFault::NotAHeader) => {
                "the upstream's API key cannot be sent: give the provider a new api_key"
            }
            Cause::WrongKey(KeyFault::NotOfAws) => {
                "the upstream's API key cannot sign requests: give the provider an api_key that is a Bedrock API key, or \
                 ACCESS_KEY_ID:SECRET_ACCESS_KEY"
            }
            Cause::WrongKey(KeyFault::NoRegion) => {
                "the region that requests to the upstream are signed for is unknown: give the provider a region"
            }
            Cause::KeysAtLimit(_) => {
                "every key of the provider has reached a limit of its own: raise the limits of its provider keys, or add a key"
            }
            Cause::WrongSettings => {
                "the upstream's address or headers cannot be sent: give the provider a new base_url and headers"
            }
            Cause::NoToken(TokenError::Key) => {
                "the upstream's API key cannot be exchanged for an access token: give the provider the JSON key of a \
                 service account"
            }
            Cause::NoToken(TokenError::Refused(_)) => {
                "the upstream's API key was refused where it is exchanged for an access token: check the provider's api_key"
            }
            Cause::NoToken(
                TokenError::Failed(_) | TokenError::Send(_) | TokenError::Timeout | TokenError::Malformed,
            ) => {
                "the server that gives access tokens for the upstream failed to give one: check the token_uri in the \
                 provider's api_key"
            }
            Cause::Send(SendError::Resolve) => "the upstream's host name cannot be resolved: check its base_url",
            Cause::Send(SendError::Forbidden) => {
                "the upstream is on a private network, which its provider does not allow: set allow_private_network to \
                 allow it"
            }
            Cause::Send(SendError::Connect | SendError::ConnectTimeout) => {
                "the upstream cannot be reached: check that it is running and that its base_url is right"
            }
            Cause::Send(SendError::Tls) => {
                "the TLS connection to the upstream failed: check that its base_url should be https, and its certificate"
            }
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::Credentials => {
                    "the upstream refused the gateway's credentials: check the provider's api_key, and that the key may \
                     use the model"
                }
                UpstreamRefusalKind::OutOfMoney => "the gateway's account at the upstream has no money left",
                UpstreamRefusalKind::BadRequest if refusal.status == 400 => {
                    "the upstream does not serve the target's model as it is named, or not to this account: check the \
                     target's model (for kind bedrock it may have to be an inference profile), the region, and the account's \
                     access to the model"
                }
                UpstreamRefusalKind::BadRequest if refusal.status == 404 => {
                    "the upstream knows no such path or model: check the target's model, and that the provider's base_url \
                     is one for its kind"
                }
                UpstreamRefusalKind::BadRequest => {
                    "the upstream does not accept this kind of request: check the provider's base_url and its kind"
                }
                _ if refusal.status == LOOP_DETECTED => {
                    "the upstream says that the request goes in a circle: check whether the provider's base_url leads to this \
                     gateway itself, maybe by way of another one"
                }
                _ => "the upstream answered with an error",
            },
            Cause::Rejected(_) if matches!(self.status, Some(413)) => "the request is too large for the upstream",
            Cause::Rejected(_) => "the upstream refused the request as it is",
            Cause::Send(SendError::Busy) => "the upstream already has as many requests as it accepts at a time",
            Cause::Send(SendError::Refused) => "the upstream accepts no request now",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Timeout | Cause::Fault(_) => {
                "the upstream failed to answer"
            }
            Cause::NoMemory(_) => "the gateway has no memory for the answer",
            Cause::NotRead(_) => "the gateway could not read the answer",
            Cause::AskedTooMuch(_) => "the client asked for more than the gateway takes in one answer",
            Cause::NotWritten { .. } => "the gateway could not write the request's body",
            Cause::ClientLeft => "the client left before anything was sent",
        }
    }

    /// The failure for the operator, with what to check first.
    pub const fn operator_hint(&self) -> &'static str {
        match &self.cause {
            Cause::Refused(_) if self.is_loop() => self.message(),
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { .. } => {
                    "the gateway's quota at the upstream is used up: raise it there, or give the model a second target"
                }
                UpstreamRefusalKind::Transient { .. } => {
                    "the upstream is in trouble: check its status page; a second target of the model would take over"
                }
                _ => self.message(),
            },
            Cause::Timeout => "the upstream took longer than its provider's timeout_ms or idle_timeout_ms",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Fault(_) => {
                "the upstream broke off, or sent an unreadable answer: check base_url and the upstream's own log"
            }
            _ => self.message(),
        }
    }

    /// The same, with how to replace the key if the provider does not accept it.
    pub fn operator_advice(&self, provider: &Provider, key: UpstreamKey) -> Cow<'static, str> {
        let hint = self.operator_hint();
        match self.of_key() {
            Some(KeyFailure::NotAccepted { reason: SetAsideReason::Refused, .. }) => {
                format!("{hint}; {}", remedy::of_refused(provider, key)).into()
            }
            _ => hint.into(),
        }
    }

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
    Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).try_again()
}

#[cfg(test)]
mod tests;

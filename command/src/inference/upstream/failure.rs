//! Failed calls: their causes, whether they are retried, and the refusal that the client gets. An upstream's own words are
//! never passed on, except the message, the code and the parameter of a rejected request, all of them redacted.

mod refusals;
mod retries;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use dialects::provider_dialects::{KeyBlame, KeyFault};
use dialects::{Rejection, UpstreamFault, UpstreamRefusal, UpstreamRefusalKind};
use events::event::admin::SetAsideReason;
use events::event::inference::CLIENT_CLOSED;
use events::refusal::Refusal;
use provider_client::SendError;
use secrets::VaultError;

use super::credentials::{Credentials, CredentialsError};
use crate::body::large_bodies::LargeBodyError;
use crate::body::memory::BoundOf;
use crate::inference::keys::access_tokens::TokenError;
use crate::inference::keys::provider_keys::KeyFailure;
use crate::inference::planned::too_much::TooMuch;

pub use refusals::{deciding, no_memory, refusal_of};
pub use retries::CallsSoFar;

/// The HTTP status `Loop Detected`.
const LOOP_DETECTED: u16 = 508;

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
        matches!(
            self.cause,
            Cause::Send(SendError::Busy | SendError::ProviderFull | SendError::NoSocket | SendError::NoLookUp)
                | Cause::KeysAtLimit(_)
        )
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
            Cause::Send(error @ (SendError::ProviderFull | SendError::NoSocket | SendError::NoLookUp)) => {
                Diagnosis::unsent(error.reason(), Answered::Unasked)
            }
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
            Cause::Fault(UpstreamFault::Coding) => Diagnosis::sent("coding", Blame::Target, Answered::Failed),
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
}

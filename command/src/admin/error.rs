//! Why a command was not carried out, free of HTTP, and the one table of this crate that gives each a code. What is
//! said to a client names what it sent, never what stands inside.

use std::time::Duration;

use access::auth::hashing::HashingError;
use axum::response::{IntoResponse, Response};
use events::concurrency::NoRoom;
use events::event::StreamKind;
use events::log::{AppendError, LogError};
use events::refusal::{ErrorCode, Refusal};
use secrets::VaultError;

use super::fields::FieldError;
use super::given::Undeclared;
use super::lifecycle::LifecycleError;
use crate::body::BodyError;
use crate::idempotency::{IDEMPOTENCY_HEADER, MalformedKey};
use crate::reply::{self, ledger_unavailable};

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why an administrative command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A field of the body, or the body itself.
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    IdempotencyKeyMalformed(#[from] MalformedKey),
    #[error("the body must be JSON, sent with content-type: application/json")]
    MediaType,
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The key or its tenant has as many commands carried out as it may.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The caller has not the permission, or not any more; refused by the one place that knows them.
    #[error("the caller may not")]
    NotPermitted(Refusal),
    /// The resource exists and may be seen, but not managed by this caller.
    #[error("{reason}")]
    OutOfReach { reason: &'static str },
    /// No such resource that the caller can see.
    #[error("no such {}", kind.as_str())]
    NotFound { kind: StreamKind },
    /// The body names a resource that does not exist for this caller.
    #[error("no such {}", kind.as_str())]
    ReferenceNotFound { field: String, kind: StreamKind },
    /// The body names a resource that has come to its end.
    #[error("that {} has ended", kind.as_str())]
    ReferenceEnded { field: String, kind: StreamKind },
    #[error("the {} has ended", kind.as_str())]
    Ended { kind: StreamKind },
    /// An id that was just made is in use: only a broken generator does that.
    #[error("the id of the {} is in use", kind.as_str())]
    IdInUse { kind: StreamKind },
    /// Beside its siblings, or among what the same keys can see.
    #[error("there is already a {} of that {field}", kind.as_str())]
    NameTaken { kind: StreamKind, field: &'static str },
    /// Of what has ended nothing is changed any more; its parts can be ended one by one.
    #[error("its {} has ended", owner.as_str())]
    OwnerEnded { owner: StreamKind },
    #[error("the key has expired")]
    KeyExpired,
    #[error("the key has been rotated too often")]
    GenerationsExhausted,
    /// Others changed the resource again and again while this was decided.
    #[error("the {} was changed by somebody else", kind.as_str())]
    Contended { kind: StreamKind },
    #[error("the Idempotency-Key was used before with another request")]
    IdempotencyKeyReused,
    /// The change is a fact, but this node could not put it into force in time.
    #[error("recorded, but not yet in force")]
    NotYetInForce { position: u64 },
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log could not be read before anything was changed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The change could not be appended, or nobody knows whether it was.
    #[error(transparent)]
    NotAppended(LogError),
    /// The change is a fact, but cannot be shown.
    #[error("recorded, and not shown: {error}")]
    NotShown { position: u64, error: LogError },
    /// What is stored cannot be what was stored: a defect.
    #[error("{0}")]
    Defect(String),
}

impl CommandError {
    pub fn into_refusal(self) -> Refusal {
        let (is_ours, message) = (self.is_ours(), self.to_string());
        let refusal = self.worded(message.clone());
        if is_ours { refusal.because(message) } else { refusal }
    }

    /// The table. No wildcard: a new variant has to choose.
    fn worded(self, message: String) -> Refusal {
        match self {
            Self::Field(error) => Refusal::invalid(error.field, error.reason),
            Self::IdempotencyKeyMalformed(_) => Refusal::invalid(IDEMPOTENCY_HEADER, message),
            Self::MediaType => Refusal::new(ErrorCode::UnsupportedMediaType, message),
            Self::Body(error) => error.into_refusal(),
            Self::NoRoom(no_room) => no_room.refusal(),
            Self::NotPermitted(refusal) => refusal,
            Self::OutOfReach { .. } => Refusal::new(ErrorCode::Forbidden, message),
            Self::NotFound { .. } => Refusal::new(ErrorCode::NotFound, message),
            Self::ReferenceNotFound { field, .. } => {
                Refusal::new(ErrorCode::NotFound, format!("{field}: {message}")).with("field", field)
            }
            Self::ReferenceEnded { field, .. } => {
                Refusal::new(ErrorCode::Conflict, format!("{field}: {message}")).with("field", field)
            }
            Self::NameTaken { field, .. } => Refusal::new(ErrorCode::Conflict, message).with("field", field),
            Self::Ended { .. }
            | Self::IdInUse { .. }
            | Self::OwnerEnded { .. }
            | Self::KeyExpired
            | Self::GenerationsExhausted
            | Self::Contended { .. } => Refusal::new(ErrorCode::Conflict, message),
            Self::IdempotencyKeyReused => Refusal::new(ErrorCode::IdempotencyKeyReused, message),
            Self::NotYetInForce { position } => {
                Refusal::new(ErrorCode::ViewBehind, message).at(Some(position)).retry_after(RETRY_AFTER)
            }
            Self::Hashing(_) => Refusal::new(ErrorCode::LedgerUnavailable, "too many keys are being made; try again")
                .retry_after(RETRY_AFTER),
            Self::Vault(VaultError::Log(_)) | Self::Log(_) => {
                ledger_unavailable("no", "the ledger cannot be read now, and nothing was changed: try again")
            }
            Self::NotAppended(error) if error.may_be_recorded() => ledger_unavailable(
                "unknown",
                "the ledger has not confirmed this change, which may be recorded: send it again with the same \
                 Idempotency-Key, or look at the resource first",
            ),
            Self::NotAppended(_) => {
                ledger_unavailable("no", "the ledger cannot record this change now, and has not: try again")
            }
            Self::NotShown { position, .. } => {
                let message = "the change is recorded, and cannot be shown now: look at the resource";
                ledger_unavailable("yes", message).at(Some(position))
            }
            Self::Vault(_) | Self::Defect(_) => {
                Refusal::new(ErrorCode::Internal, "an internal error; its cause stands in the gateway's log")
            }
        }
    }

    /// Whether the operator has to know of it.
    const fn is_ours(&self) -> bool {
        match self {
            Self::Vault(_)
            | Self::Log(_)
            | Self::NotAppended(_)
            | Self::NotShown { .. }
            | Self::Defect(_)
            | Self::IdInUse { .. }
            | Self::NotYetInForce { .. } => true,
            Self::Field(_)
            | Self::IdempotencyKeyMalformed(_)
            | Self::MediaType
            | Self::Body(_)
            | Self::NoRoom(_)
            | Self::NotPermitted(_)
            | Self::OutOfReach { .. }
            | Self::NotFound { .. }
            | Self::ReferenceNotFound { .. }
            | Self::ReferenceEnded { .. }
            | Self::Ended { .. }
            | Self::NameTaken { .. }
            | Self::OwnerEnded { .. }
            | Self::KeyExpired
            | Self::GenerationsExhausted
            | Self::Contended { .. }
            | Self::IdempotencyKeyReused
            | Self::Hashing(_) => false,
        }
    }

    /// What a life cycle's refusal means for a resource of this kind.
    pub fn of_lifecycle(kind: StreamKind, error: LifecycleError) -> Self {
        match error {
            LifecycleError::Exists => Self::IdInUse { kind },
            LifecycleError::Absent => Self::NotFound { kind },
            LifecycleError::Ended => Self::Ended { kind },
            LifecycleError::Undeclared(error) => error.into(),
        }
    }

    /// What the log's refusal of an append means. A replay is no error and is dealt with before.
    pub fn of_append(kind: StreamKind, error: AppendError) -> Self {
        match error {
            AppendError::OptimisticLock | AppendError::Outdated { .. } => Self::Contended { kind },
            AppendError::NameTaken { kind, .. } => {
                let is_named = matches!(kind, StreamKind::Model | StreamKind::Provider);
                Self::NameTaken { kind, field: if is_named { "name" } else { "slug" } }
            }
            AppendError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            AppendError::Replayed(reply) => Self::Defect(format!("a replay of position {}", reply.position)),
            AppendError::Unavailable(error) => Self::NotAppended(error),
        }
    }
}

impl From<Undeclared> for CommandError {
    fn from(error: Undeclared) -> Self {
        Self::Defect(error.to_string())
    }
}

impl IntoResponse for CommandError {
    /// Status and refusal; the outermost layer words the body as the surface wants it.
    fn into_response(self) -> Response {
        let limit_reached = if let Self::NoRoom(no_room) = &self { no_room.limit_reached() } else { None };
        let mut response = reply::refused(self.into_refusal());
        if let Some(limit_reached) = limit_reached {
            response.extensions_mut().insert(limit_reached);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_ledger_did_not_confirm_is_not_said_to_be_unrecorded() {
        let append = |error| CommandError::of_append(StreamKind::Tenant, AppendError::Unavailable(error));
        let timed_out = || LogError::TimedOut(Duration::from_secs(10));
        for (error, recorded, said) in [
            (append(timed_out()), "unknown", "may be recorded"),
            (append(LogError::Commit("disk I/O error".to_owned())), "unknown", "same Idempotency-Key"),
            (append(LogError::Closed), "unknown", "look at the resource first"),
            (append(LogError::QueueFull), "no", "has not"),
            (append(LogError::ClockStepped), "no", "try again"),
            (append(LogError::Append("disk full".to_owned())), "no", "has not"),
            (CommandError::Log(timed_out()), "no", "cannot be read"),
            (CommandError::Vault(VaultError::Log(timed_out())), "no", "nothing was changed"),
            (CommandError::NotShown { position: 7, error: timed_out() }, "yes", "is recorded"),
        ] {
            let what = format!("{error:?}");
            let refusal = error.into_refusal();
            assert_eq!(
                (refusal.code, &refusal.details["recorded"]),
                (ErrorCode::LedgerUnavailable, &recorded.into()),
                "{what}"
            );
            assert!(refusal.message.contains(said), "{what}: {}", refusal.message);
            assert!(refusal.retry_after.is_some() && refusal.cause.is_some(), "{what}");
            assert_eq!(refusal.position, (recorded == "yes").then_some(7));
        }
    }
}

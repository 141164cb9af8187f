//! The errors of commands, and the table that gives each its error code and message. A message to a client names what the
//! client sent, never anything internal.

use access_control::auth::hashing::HashingError;
use axum::response::{IntoResponse, Response};
use events::event::StreamKind;
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events_log::concurrency::NoRoom;
use events_log::{AppendError, LogError};
use secrets::VaultError;
use secrets::log_key::LogKeyError;
use serde_json::json;

use super::field_values::DeclarationMismatch;
use super::fields::FieldError;
use super::import_error::ImportError;
use super::lifecycle::RuleError;
use super::resource_bounds::{BoundReached, BytesOfDayReached};
use openapi::refusals;

use crate::body::BodyError;
use crate::idempotency::{IDEMPOTENCY_HEADER, MalformedKey};
use crate::ledger_unavailable::ledger_unavailable;

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A field of the body is wrong, or the body itself.
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    IdempotencyKeyMalformed(#[from] MalformedKey),
    #[error("the body must be JSON, sent with content-type: application/json")]
    MediaType,
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The key or its tenant already runs as many commands as it may.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The caller does not have the permission, or no longer has it.
    #[error("the caller lacks the permission")]
    NotPermitted(Refusal),
    /// The caller can see the resource, but may not manage it.
    #[error("{reason}")]
    OutOfReach { reason: &'static str },
    /// The gateway made the resource itself, and keeps it as it is.
    #[error("{reason}")]
    MadeByGateway { reason: String },
    /// The resource does not exist, or the caller cannot see it.
    #[error("no such {}", kind.in_text())]
    NotFound { kind: StreamKind },
    /// The body names a resource that does not exist, or that the caller cannot see.
    #[error("{field}: no such {}", kind.in_text())]
    ReferenceNotFound { field: String, kind: StreamKind },
    /// The body names a resource that has ended.
    #[error("{field}: that {} has ended", kind.in_text())]
    ReferenceEnded { field: String, kind: StreamKind },
    #[error("the {} has ended", kind.in_text())]
    Ended { kind: StreamKind },
    /// A new id is in use already: the generator is broken.
    #[error("the id of the {} is in use", kind.in_text())]
    IdInUse { kind: StreamKind },
    /// The name is in use beside the resource's siblings, or among what the same keys can see.
    #[error("another {} has that {field}", kind.in_text())]
    NameTaken { kind: StreamKind, field: &'static str },
    /// An owner of the resource has ended: the resource can still be ended, but not changed.
    #[error("its {} has ended", owner.in_text())]
    OwnerEnded { owner: StreamKind },
    #[error(transparent)]
    BoundReached(#[from] BoundReached),
    #[error(transparent)]
    BytesOfDayReached(#[from] BytesOfDayReached),
    /// Only what has ended can be erased.
    #[error("the {} is live: delete it first", kind.in_text())]
    StillLive { kind: StreamKind },
    /// Nothing of the tenant is deleted or erased.
    #[error("the tenant {tenant} is under legal hold: nothing of it can be deleted or erased until the hold is lifted")]
    LegalHold { tenant: TenantId },
    #[error("the key has expired")]
    KeyExpired,
    #[error("the key has been rotated too often")]
    GenerationsExhausted,
    /// Other commands changed the resource during every attempt.
    #[error("the {} was changed by other requests at the same time: try again", kind.in_text())]
    Contended { kind: StreamKind },
    /// Somebody else was faster than the changes that were planned on what the gateway had before.
    #[error(
        "another request made or changed the {} {id} at position {changed_at}, after position {based_on}, which these changes are \
         based on: read the resources again",
        kind.in_text()
    )]
    ChangedSince { kind: StreamKind, id: String, changed_at: u64, based_on: u64 },
    /// Providers are checked one time after the other.
    #[error("another check of the providers is running: try again when it has ended")]
    CheckRunning,
    #[error("the log is not published: set LEDGERWAY_TRANSPARENCY=true where the gateway starts")]
    LogNotPublished,
    #[error("the published log has no key yet: the process that publishes it makes one when it starts")]
    NoLogKey,
    #[error(
        "this node does not open the key of the published log, which is under another node's key: ask another node"
    )]
    LogKeyNotOpened,
    #[error("the Idempotency-Key was used before with a different request")]
    IdempotencyKeyReused,
    /// The change is recorded, but this node's tables did not have it in time.
    #[error("the change is recorded, but not yet in force on this node")]
    NotYetInForce { position: u64 },
    /// This node does not know in time what other nodes have recorded, so the command was not decided.
    #[error("this node is behind the ledger")]
    NotCurrent,
    /// A catalogue that is not taken, or not completely.
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log could not be read before anything was changed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The change could not be appended, or the outcome is unknown.
    #[error(transparent)]
    NotAppended(LogError),
    /// The change is recorded, but the resource could not be read for the reply.
    #[error("recorded, but not readable for the reply: {error}")]
    NotShown { position: u64, error: LogError },
    #[error(transparent)]
    DeclarationMismatch(#[from] DeclarationMismatch),
    /// The error of one of several changes, of which none was made.
    #[error("{error}")]
    InChange { at: usize, error: Box<Self> },
    /// A state that only a defect can lead to.
    #[error("{0}")]
    Defect(String),
}

impl CommandError {
    /// The error itself, if it is one of several changes.
    pub const fn of_change(&self) -> &Self {
        if let Self::InChange { error, .. } = self { error } else { self }
    }

    pub fn into_refusal(self) -> Refusal {
        let message = self.to_string();
        // No wildcard, so that a new variant must choose. What the operator must know of has its cause in the log.
        match self {
            Self::InChange { at, error } => error.into_refusal().with("change", at),
            Self::Field(error) => Refusal::invalid(error.field, error.reason),
            Self::IdempotencyKeyMalformed(_) => Refusal::invalid(IDEMPOTENCY_HEADER.as_str(), message),
            Self::MediaType => Refusal::new(ErrorCode::UnsupportedMediaType, message),
            Self::Body(error) => error.into_refusal(),
            Self::NoRoom(no_room) => no_room.refusal(),
            Self::Import(error) => error.into_refusal(),
            Self::NotPermitted(refusal) => refusal,
            Self::OutOfReach { .. } => Refusal::new(ErrorCode::Forbidden, message),
            Self::NotFound { .. } | Self::LogNotPublished => Refusal::new(ErrorCode::NotFound, message),
            Self::ReferenceNotFound { field, .. } => Refusal::new(ErrorCode::NotFound, message).with("field", field),
            Self::ReferenceEnded { field, .. } => Refusal::new(ErrorCode::Conflict, message).with("field", field),
            Self::NameTaken { field, .. } => Refusal::new(ErrorCode::Conflict, message).with("field", field),
            Self::BoundReached(BoundReached { bound, owner, limit, used, reason }) => {
                let refusal = Refusal::new(ErrorCode::Conflict, reason).with("bound", bound.as_str());
                refusal.with("owner", json!(owner)).with("limit", limit).with("used", used)
            }
            Self::BytesOfDayReached(reached) => reached.refusal(),
            Self::LegalHold { tenant } => {
                Refusal::new(ErrorCode::LegalHold, message).with("tenant_id", tenant.to_string())
            }
            Self::ChangedSince { changed_at, based_on, .. } => {
                Refusal::new(ErrorCode::Conflict, message).with("changed_at", changed_at).with("based_on", based_on)
            }
            Self::Contended { .. } => Refusal::new(ErrorCode::Conflict, message).with("contended", true),
            Self::IdInUse { .. } => Refusal::new(ErrorCode::Conflict, message.clone()).because(message),
            Self::MadeByGateway { .. }
            | Self::Ended { .. }
            | Self::OwnerEnded { .. }
            | Self::KeyExpired
            | Self::GenerationsExhausted
            | Self::CheckRunning
            | Self::NoLogKey
            | Self::StillLive { .. }
            | Self::LogKeyNotOpened => Refusal::new(ErrorCode::Conflict, message),
            Self::IdempotencyKeyReused => Refusal::new(ErrorCode::IdempotencyKeyReused, message),
            Self::NotYetInForce { position } => {
                let refusal = Refusal::new(ErrorCode::ViewBehind, message.clone()).because(message);
                refusal.at(Some(position)).try_again()
            }
            Self::NotCurrent => {
                ledger_unavailable("no", "this node is behind the ledger, so nothing was changed: try again")
                    .because(message)
            }
            Self::Hashing(_) => {
                Refusal::new(ErrorCode::LedgerUnavailable, "too many keys are being created now: try again").try_again()
            }
            Self::Vault(VaultError::NotServed { .. } | VaultError::NotGranted { .. }) => {
                let message =
                    "this node cannot seal API keys of this tenant: send the request to a node that serves the tenant";
                Refusal::new(ErrorCode::TenantNotServed, message)
            }
            Self::Vault(VaultError::Log(_)) | Self::Log(_) => {
                ledger_unavailable("no", "the ledger cannot be read now, so nothing was changed: try again")
                    .because(message)
            }
            Self::NotAppended(error) if error.may_be_recorded() => ledger_unavailable(
                "unknown",
                "the ledger has not confirmed this change, but it may be recorded: send it again with the same \
                 Idempotency-Key, or read the resource first",
            )
            .because(message),
            Self::NotAppended(_) => {
                ledger_unavailable("no", "the ledger cannot record changes now, so nothing was changed: try again")
                    .because(message)
            }
            Self::NotShown { position, .. } => {
                let later = "the change is recorded, but the resource cannot be read now: read it later";
                ledger_unavailable("yes", later).at(Some(position)).because(message)
            }
            Self::Vault(_) | Self::DeclarationMismatch(_) | Self::Defect(_) => {
                Refusal::new(ErrorCode::Internal, "an internal error: see the gateway's log for the cause")
                    .because(message)
            }
        }
    }

    /// The error of a failed append to a resource of this kind. A replay is not an error: callers handle it before.
    pub fn of_append(kind: StreamKind, error: AppendError) -> Self {
        match error {
            AppendError::OptimisticLock | AppendError::Outdated { .. } => Self::Contended { kind },
            AppendError::NameTaken { kind, .. } => {
                let is_named = matches!(kind, StreamKind::Model | StreamKind::Provider | StreamKind::AuditSearch);
                Self::NameTaken { kind, field: if is_named { "name" } else { "slug" } }
            }
            AppendError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            AppendError::Replayed(reply) => Self::Defect(format!("a replay of position {}", reply.position)),
            AppendError::Unavailable(error) => Self::NotAppended(error),
        }
    }

    /// The error of a key for checkpoints that could not be made.
    pub fn of_log_key(error: LogKeyError) -> Self {
        match error {
            LogKeyError::None => Self::NoLogKey,
            LogKeyError::NotOpened => Self::LogKeyNotOpened,
            LogKeyError::Contended => Self::Contended { kind: StreamKind::LogKey },
            LogKeyError::Vault(error) => error.into(),
            error @ (LogKeyError::OtherOrigin { .. } | LogKeyError::Damaged) => Self::Defect(error.to_string()),
        }
    }

    /// The error of a refused command to a resource of this kind.
    pub fn of_rule(kind: StreamKind, error: RuleError) -> Self {
        match error {
            RuleError::Exists => Self::IdInUse { kind },
            RuleError::Absent => Self::NotFound { kind },
            RuleError::Ended => Self::Ended { kind },
            RuleError::Field(error) => error.into(),
            RuleError::GenerationsExhausted => Self::GenerationsExhausted,
            RuleError::DeclarationMismatch(error) => error.into(),
        }
    }
}

impl IntoResponse for CommandError {
    fn into_response(self) -> Response {
        let limit_reached = if let Self::NoRoom(no_room) = &self {
            no_room.limit_reached()
        } else if let Self::BytesOfDayReached(reached) = self.of_change() {
            Some(reached.limit_reached())
        } else {
            None
        };
        refusals::response_at_limit(self.into_refusal(), limit_reached)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_unconfirmed_change_is_not_reported_as_unrecorded() {
        let append = |error| CommandError::of_append(StreamKind::Tenant, AppendError::Unavailable(error));
        let timed_out = || LogError::TimedOut(Duration::from_secs(10));
        for (error, recorded, expected) in [
            (append(timed_out()), "unknown", "may be recorded"),
            (append(LogError::Commit("disk I/O error".to_owned())), "unknown", "same Idempotency-Key"),
            (append(LogError::Closed), "unknown", "read the resource first"),
            (append(LogError::QueueFull), "no", "nothing was changed"),
            (append(LogError::ClockStepped), "no", "try again"),
            (append(LogError::Append("disk full".to_owned())), "no", "cannot record"),
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
            assert!(refusal.message.contains(expected), "{what}: {}", refusal.message);
            assert!(refusal.retry_after.is_some() && refusal.cause.is_some(), "{what}");
            assert_eq!(refusal.position, (recorded == "yes").then_some(7));
        }
    }
}

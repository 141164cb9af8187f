//! Why the log cannot be read or written now, and why a change cannot be appended.

use std::time::Duration;

use super::StoredReply;

/// The log cannot be read or written now. Whether what was to be written may be found in it all the same is what
/// [`LogError::may_be_recorded`] says.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the writer's queue is full")]
    QueueFull,
    #[error("the log is closed")]
    Closed,
    #[error("the wall clock was stepped")]
    ClockStepped,
    #[error("database: {0}")]
    Engine(#[from] EngineError),
    #[error("append: {0}")]
    Append(String),
    /// All was written, and the last sync failed: a process that is started after a crash may find it.
    #[error("commit: {0}")]
    Commit(String),
    #[error(transparent)]
    Decode(#[from] crate::event::DecodeError),
    #[error("it was {0}")]
    OtherSchema(#[from] OtherSchema),
    #[error("a stored value cannot be read: {0}")]
    Stored(String),
    #[error("an amount that cannot be counted")]
    Overflow,
    /// What was asked for may be recorded later all the same; a hold that nobody takes is then released.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the query took longer than {0:?}")]
    QueryTookTooLong(Duration),
}

/// A ledger of another version than this program reads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherSchema {
    #[error("written by an older version of ledgerway (schema {found}, this is {newest}): run `ledgerway migrate`")]
    Older { found: i64, newest: i64 },
    #[error("written by a newer version of ledgerway (schema {found}, this is {newest})")]
    Newer { found: i64, newest: i64 },
}

/// What the database says, whichever it is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: EngineErrorKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// What was to be written cannot be, whatever the disk does.
    Data,
    /// What is stored is not what was stored.
    Damaged,
    /// It cannot be reached, is busy or full, or its disk failed.
    Unavailable,
}

impl LogError {
    /// Whether what was to be recorded cannot be, whatever the disk does.
    pub(super) fn is_of_what_was_to_be_recorded(&self) -> bool {
        match self {
            Self::Engine(error) => error.kind == EngineErrorKind::Data,
            Self::Stored(_) | Self::Decode(_) | Self::Overflow => true,
            Self::QueueFull
            | Self::Closed
            | Self::ClockStepped
            | Self::Append(_)
            | Self::Commit(_)
            | Self::OtherSchema(_)
            | Self::TimedOut(_)
            | Self::QueryTookTooLong(_) => false,
        }
    }

    /// Of something that was to be written: nobody knows whether it is recorded, now or later. Where this is false it
    /// certainly is not.
    pub const fn may_be_recorded(&self) -> bool {
        match self {
            // The writer is gone, and nobody knows how far it got.
            Self::TimedOut(_) | Self::Commit(_) | Self::Closed => true,
            Self::QueueFull
            | Self::ClockStepped
            | Self::Engine(_)
            | Self::Append(_)
            | Self::Decode(_)
            | Self::OtherSchema(_)
            | Self::Stored(_)
            | Self::Overflow
            | Self::QueryTookTooLong(_) => false,
        }
    }
}

/// An administrative change could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the stream has moved on")]
    OptimisticLock,
    /// Something that the decision rests on has changed since, at this position or before it.
    #[error("what it was decided on has changed")]
    Outdated { position: u64 },
    #[error("the {} name {name} is taken", kind.as_str())]
    NameTaken { kind: crate::event::StreamKind, name: String },
    /// The same idempotency key came before with the same content: this is what was answered.
    #[error("answered before")]
    Replayed(StoredReply),
    #[error("the idempotency key was used with other content")]
    IdempotencyKeyReused,
    #[error(transparent)]
    Unavailable(#[from] LogError),
}

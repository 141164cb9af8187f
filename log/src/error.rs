//! The log's errors: it cannot be read or written, or a change cannot be appended.

use std::time::Duration;

use events::ledger::Overflow;

use super::StoredReply;

/// The log cannot be read or written now. [`LogError::may_be_recorded`] tells whether a failed write may be in it all the
/// same.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the writer's queue is full")]
    QueueFull,
    #[error("the log is closed")]
    Closed,
    #[error("the wall clock of this node was stepped: let a time server set it")]
    ClockStepped,
    /// The clock is behind now, or was ahead when the event was recorded.
    #[error(
        "the clock of this node shows {now}, and the last event is of {last}: set the clock; if it is right, the log was written with one \
         that was ahead, and cannot go on before {last}: restore a backup from before that, or wait"
    )]
    ClockBehindLog { now: String, last: String },
    /// The time of a batch is ahead of the shared database's clock.
    #[error(
        "the time of this node is {} s ahead of the clock of the database: let a time server set both",
        by.as_secs()
    )]
    ClockAhead { by: Duration },
    #[error("the time of this node is {} s behind the clock of the database: let a time server set both", by.as_secs())]
    ClockBehind { by: Duration },
    /// The shared database was restored from an older copy, or another server has taken over without the last batches.
    #[error(
        "the database does not have the log that this node follows: its batch that ends at position {ours} is not there, the log \
         ends at {theirs}; if it was restored or failed over, and lost what it had acknowledged, restart this node and all others"
    )]
    Forked { ours: u64, theirs: u64 },
    /// This node must have been unseen for a while: a replacement waits until no node runs.
    #[error(
        "the node key of the ledger was replaced by `ledgerway reseal` while this node ran, and it has the old one: restart it \
         with the new key"
    )]
    NodeKeyReplaced,
    #[error("database: {0}")]
    Engine(#[from] EngineError),
    #[error("append: {0}")]
    Append(String),
    /// Everything was written, but the commit failed: after a crash, the next process may find it.
    #[error("commit: {0}")]
    Commit(String),
    #[error(transparent)]
    Decode(#[from] events::event::DecodeError),
    #[error(transparent)]
    OtherSchema(#[from] OtherSchema),
    #[error("a stored value cannot be read: {0}")]
    Stored(String),
    /// The event is of a set that nodes of the version before cannot read (ADR-0019).
    #[error("this version of ledgerway reads {name}.v{version} and does not write it: the next one does")]
    NotWrittenYet { name: &'static str, version: u32 },
    #[error("an amount that cannot be counted")]
    Overflow(#[from] Overflow),
    /// The write may still be recorded later. A hold that nobody receives is then released.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the query took longer than {0:?}")]
    QueryTookTooLong(Duration),
}

/// The database has no ledger that this program can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherSchema {
    /// A shared database without a ledger: nothing was migrated yet.
    #[error("there is no ledger in it yet: run `ledgerway migrate`")]
    Missing,
    /// A shared database has something else under the name of the ledger's schema.
    #[error("the schema `ledger` in it is not one that ledgerway made: use another database")]
    Foreign,
    #[error(
        "it was written by an older version of ledgerway (schema {found}, this is {newest}): run `ledgerway migrate`"
    )]
    Older { found: i64, newest: i64 },
    #[error("it was written by a newer version of ledgerway (schema {found}, this is {newest}): start that version")]
    Newer { found: i64, newest: i64 },
}

/// An error of the database, whichever engine it is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: EngineErrorKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The data cannot be written, whatever the state of the disk.
    Data,
    /// The stored data is corrupt.
    Damaged,
    /// The database cannot be reached, is busy or full, or its disk failed.
    Unavailable,
}

impl LogError {
    /// Its text; of a stored value that cannot be read, the reason alone.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Stored(reason) => reason,
            other => other.to_string(),
        }
    }

    /// Whether the log was read, and has something in it that cannot be used.
    pub const fn is_about_what_is_stored(&self) -> bool {
        match self {
            Self::Decode(_) | Self::Stored(_) | Self::Overflow(_) => true,
            Self::Engine(error) => match error.kind {
                EngineErrorKind::Data | EngineErrorKind::Damaged => true,
                EngineErrorKind::Unavailable => false,
            },
            Self::QueueFull
            | Self::Closed
            | Self::ClockStepped
            | Self::ClockBehindLog { .. }
            | Self::ClockAhead { .. }
            | Self::ClockBehind { .. }
            | Self::Forked { .. }
            | Self::NodeKeyReplaced
            | Self::Append(_)
            | Self::Commit(_)
            | Self::OtherSchema(_)
            | Self::NotWrittenYet { .. }
            | Self::TimedOut(_)
            | Self::QueryTookTooLong(_) => false,
        }
    }

    /// True if the failed write may be recorded, now or later; false if it certainly is not.
    pub const fn may_be_recorded(&self) -> bool {
        match self {
            // If the log is closed, the writer is gone, and how far it got is unknown.
            Self::TimedOut(_) | Self::Commit(_) | Self::Closed => true,
            Self::QueueFull
            | Self::ClockStepped
            | Self::ClockBehindLog { .. }
            | Self::ClockAhead { .. }
            | Self::ClockBehind { .. }
            | Self::Forked { .. }
            | Self::NodeKeyReplaced
            | Self::Engine(_)
            | Self::Append(_)
            | Self::Decode(_)
            | Self::OtherSchema(_)
            | Self::Stored(_)
            | Self::NotWrittenYet { .. }
            | Self::Overflow(_)
            | Self::QueryTookTooLong(_) => false,
        }
    }
}

/// An administrative change could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has a newer event, or another catalogue was imported than the one that the change replaces.
    #[error("the stream has a newer event than the change expects, or another catalogue was imported")]
    OptimisticLock,
    /// A stream of the basis has changed since the decision, by the event at this position.
    #[error("a resource that the change depends on has changed at position {position}")]
    Outdated { position: u64 },
    #[error("the {} name {name} is taken", kind.as_str())]
    NameTaken { kind: events::event::StreamKind, name: String },
    /// The idempotency key was used for the same request before; this is its answer.
    #[error("the request with this idempotency key has already been answered")]
    Replayed(StoredReply),
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    #[error(transparent)]
    Unavailable(#[from] LogError),
}

//! Why a checkpoint was not cosigned.

use events::private::ReplaceError;
use tlog::{InvalidProof, MalformedCheckpoint, MalformedRequest, NoteRefused};

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the request is malformed: {0}")]
    Malformed(#[from] MalformedRequest),
    #[error("this witness does not know the log")]
    UnknownLog,
    #[error("the checkpoint is not signed by its log: {0}")]
    Untrusted(NoteRefused),
    #[error("the old size is {old_size}, and the checkpoint has {size}")]
    Shrinks { old_size: u64, size: u64 },
    /// Ask again, with a proof from this size.
    #[error("the stored checkpoint has size {stored_size}")]
    OtherSize { stored_size: u64 },
    /// The log has signed two histories.
    #[error("the stored checkpoint has this size and another root")]
    OtherRoot,
    #[error("the checkpoint does not continue the stored one: {0}")]
    Inconsistent(InvalidProof),
    #[error("the checkpoint has no room for a cosignature: {0}")]
    NoRoom(MalformedCheckpoint),
    /// Nothing was cosigned: what is not stored for certain could be contradicted after a crash.
    #[error("the checkpoint cannot be stored")]
    NotStored(#[source] ReplaceError),
}

//! Why the published log cannot answer.

use std::time::Duration;

use events_log::LogError;
use object_storage::NotOpened;
use tlog::ProofError;

use crate::checkpoint::CheckpointError;
use crate::damaged_file::DamagedFile;
use crate::files::FilesError;

/// The published log cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    #[error(transparent)]
    Open(#[from] NotOpened),
    #[error("too many are reading it at the same time")]
    Busy,
    #[error("the object store did not answer in {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{path} is missing in {place}")]
    Missing { path: String, place: String },
    #[error(transparent)]
    Damaged(#[from] DamagedFile),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("cannot read the ledger: {0}")]
    Ledger(#[from] LogError),
    #[error("the checkpoint in {place} is of {found} events, and one of {seen} was there before")]
    Older { place: String, found: u64, seen: u64 },
}

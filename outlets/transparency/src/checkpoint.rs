//! Which checkpoints are this log's: those of its origin that one of its recorded keys has signed.

use events::event::log_key::LogKeyCreated;
use tlog::{CheckpointRefused, MalformedCheckpoint, SignedCheckpoint, TreeHead, VerifierKey};

/// The keys that have signed checkpoints of a log, from its events.
#[derive(Clone, Debug)]
pub struct LogKeys {
    origin: String,
    keys: Vec<VerifierKey>,
}

/// A checkpoint is not one of this log.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint cannot be read: {0}")]
    Malformed(#[from] MalformedCheckpoint),
    #[error("the checkpoint is not one of this ledger: {0}")]
    Refused(#[from] CheckpointRefused),
    /// Whoever has a key that the log has replaced can sign anything with it.
    #[error(
        "the checkpoint of {size} events is signed by no key that was in force: the log names another one at position {position}"
    )]
    Replaced { size: u64, position: u64 },
}

impl LogKeys {
    /// The keys of a log; `None` if it has none yet. A key that cannot be read has signed nothing.
    pub fn of<'a>(created: impl IntoIterator<Item = &'a LogKeyCreated>) -> Option<Self> {
        let mut created = created.into_iter().peekable();
        let origin = created.peek()?.origin.clone();
        let keys = created.filter_map(|key| key.verifier_key.parse().ok()).collect();
        Some(Self { origin, keys })
    }

    /// Keys that somebody was given by other means than the log; `None` if there is none, or if they are of several logs.
    pub fn of_verifiers(keys: Vec<VerifierKey>) -> Option<Self> {
        let origin = keys.first()?.name().to_string();
        let is_one_log = keys.iter().all(|key| key.name().as_str() == origin);
        is_one_log.then_some(Self { origin, keys })
    }

    pub(crate) const fn of_log(origin: String, keys: Vec<VerifierKey>) -> Self {
        Self { origin, keys }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn verifiers(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Returns the log's tree head in a checkpoint.
    pub fn read(&self, checkpoint: &[u8]) -> Result<TreeHead, CheckpointError> {
        Ok(*self.signed(checkpoint)?.unverified().head())
    }

    /// A checkpoint with its signatures, if one of these keys has signed it.
    pub(crate) fn signed(&self, checkpoint: &[u8]) -> Result<SignedCheckpoint, CheckpointError> {
        let signed = SignedCheckpoint::parse(checkpoint)?;
        signed.verify(&self.origin, &self.keys)?;
        Ok(signed)
    }
}

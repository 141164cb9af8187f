//! The part that proof files and requests to witnesses share: a hash on each line, an empty line, and a checkpoint.

use crate::checkpoint::{MalformedCheckpoint, SignedCheckpoint};
use crate::hash::Hash;
use crate::proof::PROOF_HASHES_MAX;

/// A text is not a proof with a checkpoint after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedProofLines {
    #[error("a line of the proof has the base64 of 32 bytes")]
    Hash,
    #[error("a proof has at most {PROOF_HASHES_MAX} hashes")]
    TooManyHashes,
    #[error("an empty line stands before the checkpoint")]
    NoCheckpoint,
    #[error(transparent)]
    Checkpoint(#[from] MalformedCheckpoint),
}

pub fn parse(mut text: &str) -> Result<(Vec<Hash>, SignedCheckpoint), MalformedProofLines> {
    let mut hashes = Vec::new();
    loop {
        let (line, rest) = text.split_once('\n').ok_or(MalformedProofLines::NoCheckpoint)?;
        if line.is_empty() {
            return Ok((hashes, SignedCheckpoint::parse(rest.as_bytes())?));
        }
        if hashes.len() == PROOF_HASHES_MAX {
            return Err(MalformedProofLines::TooManyHashes);
        }
        hashes.push(line.parse().map_err(|_| MalformedProofLines::Hash)?);
        text = rest;
    }
}

//! Files that prove offline that an entry is in a log (<https://c2sp.org/tlog-proof>): the index of the entry, the proof of its
//! inclusion, and a signed checkpoint. By convention their names end with `.tlog-proof`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointRefused, Cosignature, SignedCheckpoint};
use crate::decimal;
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::NoteRefused;
use crate::proof::{InvalidProof, verify_inclusion};
use crate::proof_lines::{self, MalformedProofLines};

/// A longer file is refused: a note of full length, a proof of full length, and as much again for the extra data.
pub const TLOG_PROOF_BYTES_MAX: usize = 2_000_000;
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof that an entry is in a log. Nothing of it is known before it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// Data for the application, for example to compute the entry; often empty. Nobody signs it.
    pub extra: Vec<u8>,
    /// The number of the entry in the log, from 0.
    pub index: u64,
    /// From the leaf's sibling upwards.
    pub hashes: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

/// Which log a proof has to be of, and how many witnesses must have seen it.
#[derive(Clone, Debug)]
pub struct LogPolicy {
    pub origin: String,
    /// The checkpoint has to be signed by one of them.
    pub log_keys: Vec<VerifierKey>,
    pub witnesses: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned the checkpoint, counted by public keys.
    pub cosignatures_min: usize,
}

/// An entry that a proof has proved to be in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedEntry<'a> {
    /// The number of the entry in the log, from 0.
    pub index: u64,
    pub checkpoint: &'a Checkpoint,
    /// The known witnesses that have cosigned it.
    pub cosignatures: Vec<Cosignature<'a>>,
}

/// The bytes are not a proof file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTlogProof {
    #[error("a proof file has at most {TLOG_PROOF_BYTES_MAX} bytes, not {0}")]
    TooLong(usize),
    #[error("a proof file is UTF-8")]
    NotUtf8,
    #[error("the first line is {HEADER:?}")]
    Header,
    #[error("a line `extra` has base64, and is left out if there is none")]
    Extra,
    #[error("a line `index` has a decimal number without leading zeros")]
    Index,
    #[error(transparent)]
    Lines(#[from] MalformedProofLines),
}

/// A proof does not prove that the entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofRefused {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefused),
    #[error("a cosignature is wrong: {0}")]
    Cosignature(NoteRefused),
    #[error("{found} of the known witnesses have cosigned the checkpoint, and {needed} have to")]
    TooFewCosignatures { found: usize, needed: usize },
    #[error(transparent)]
    Proof(#[from] InvalidProof),
}

impl TlogProof {
    /// Reads a proof file.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedTlogProof> {
        if bytes.len() > TLOG_PROOF_BYTES_MAX {
            return Err(MalformedTlogProof::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedTlogProof::NotUtf8)?;
        let rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
        let mut rest = rest.ok_or(MalformedTlogProof::Header)?;
        let mut extra = Vec::new();
        if let Some(line) = rest.strip_prefix("extra ") {
            let (base64, after) = line.split_once('\n').ok_or(MalformedTlogProof::Extra)?;
            let data = STANDARD.decode(base64).ok().filter(|data| !data.is_empty());
            (extra, rest) = (data.ok_or(MalformedTlogProof::Extra)?, after);
        }
        let line = rest.strip_prefix("index ").and_then(|rest| rest.split_once('\n'));
        let (index, rest) = line.ok_or(MalformedTlogProof::Index)?;
        let index = decimal::parse(index).ok_or(MalformedTlogProof::Index)?;
        let (hashes, checkpoint) = proof_lines::parse(rest)?;
        Ok(Self { extra, index, hashes, checkpoint })
    }

    /// Checks that the entry with this leaf hash is in the log, as the specification describes it. The times of cosignatures are
    /// left to the caller.
    pub fn verify<'a>(&'a self, leaf: &Hash, policy: &'a LogPolicy) -> Result<VerifiedEntry<'a>, TlogProofRefused> {
        let checkpoint = self.checkpoint.verify(&policy.origin, &policy.log_keys)?;
        let cosignatures = self.checkpoint.cosignatures(&policy.witnesses).map_err(TlogProofRefused::Cosignature)?;
        let (found, needed) = (cosignatures.len(), policy.cosignatures_min);
        if found < needed {
            return Err(TlogProofRefused::TooFewCosignatures { found, needed });
        }
        verify_inclusion(self.index, leaf, checkpoint.head(), &self.hashes)?;
        Ok(VerifiedEntry { index: self.index, checkpoint, cosignatures })
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

//! The stored checkpoint of a log, the last one that a witness has cosigned: the checkpoint, the log's signature and the
//! cosignature. The file is a signed note that anybody can check.

use std::fmt;

use tlog::{Cosigner, MalformedCheckpoint, NoteRefused, NoteSignature, SignedCheckpoint, TreeHead, VerifierKey};

use crate::decision::SignedRequest;

/// A checkpoint with the signature of its log and the cosignature of this witness. Whatever is written can be read again.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    checkpoint: SignedCheckpoint,
    cosignature: NoteSignature,
}

/// A file does not have the stored checkpoint of its log.
#[derive(Debug, thiserror::Error)]
pub enum NotAStoredCheckpoint {
    #[error(transparent)]
    Malformed(#[from] MalformedCheckpoint),
    #[error("it is of another log: {0:?}")]
    OtherLog(String),
    #[error("this witness has not cosigned it: {0}")]
    NotCosigned(NoteRefused),
}

impl StoredCheckpoint {
    /// Errors: the note would be longer than a note can be, and could not be read again.
    pub fn cosign(
        request: &SignedRequest,
        cosigner: &Cosigner,
        unix_seconds: u64,
    ) -> Result<Self, MalformedCheckpoint> {
        let mut note = request.note();
        let cosignature = cosigner.cosign(note.text(), unix_seconds);
        note.add(cosignature.clone()).map_err(tlog::MalformedNote::from)?;
        Ok(Self { checkpoint: SignedCheckpoint::parse(note.to_string().as_bytes())?, cosignature })
    }

    /// Reads what was stored for the log of this origin.
    pub fn parse(bytes: &[u8], origin: &str, witness: &VerifierKey) -> Result<Self, NotAStoredCheckpoint> {
        let checkpoint = SignedCheckpoint::parse(bytes)?;
        if checkpoint.unverified().origin() != origin {
            return Err(NotAStoredCheckpoint::OtherLog(checkpoint.unverified().origin().to_owned()));
        }
        let witnesses = [witness.clone()];
        let found = checkpoint.cosignatures(&witnesses).map_err(NotAStoredCheckpoint::NotCosigned)?;
        let cosignature =
            found.first().ok_or(NotAStoredCheckpoint::NotCosigned(NoteRefused::NoKnownKey))?.signature.clone();
        Ok(Self { checkpoint, cosignature })
    }

    pub const fn head(&self) -> &TreeHead {
        self.checkpoint.unverified().head()
    }

    pub const fn cosignature(&self) -> &NoteSignature {
        &self.cosignature
    }
}

impl fmt::Display for StoredCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.checkpoint, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_log::{ORIGIN, TestLog, signer};

    fn witness(seed: u8) -> Cosigner {
        Cosigner::from_seed("witness.example/w1".parse().expect("a name"), &[seed; 32]).expect("a seed")
    }

    #[test]
    fn what_is_stored_is_of_one_log_and_one_witness() {
        let (request, keys) = (TestLog::new("ours").request(0, 5), [signer(1).verifier_key().clone()]);
        let signed = SignedRequest::verify(&request, &keys).expect("the log signed it");
        let cosigned = StoredCheckpoint::cosign(&signed, &witness(1), 1_800_000_000).expect("there is room");
        let stored = cosigned.to_string();
        let read = |origin, seed| StoredCheckpoint::parse(stored.as_bytes(), origin, witness(seed).verifier_key());
        assert_eq!(read(ORIGIN, 1).expect("its own"), cosigned);
        assert!(matches!(read("other.example/log", 1), Err(NotAStoredCheckpoint::OtherLog(_))));
        assert!(matches!(read(ORIGIN, 2), Err(NotAStoredCheckpoint::NotCosigned(NoteRefused::NoKnownKey))));
    }
}

//! Keys that sign: for a log, and for a witness. They are made from seeds, which nothing here shows.

use std::fmt;

use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::key::{KeyKind, KeyName, VerifierKey};
use crate::note::{NoteSignature, NoteText, UNIX_SECONDS_MAX, cosigned_message};

/// The bytes of the seed of an Ed25519 key.
pub const SEED_BYTES: usize = 32;

/// Signs texts for a log.
pub struct Signer(SigningKey);

/// Signs texts of checkpoints for a witness, each with the time.
pub struct Cosigner(SigningKey);

/// The seed of a key has another length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the seed of an Ed25519 key has {SEED_BYTES} bytes")]
pub struct InvalidSeed;

struct SigningKey {
    pair: Ed25519KeyPair,
    verifier_key: VerifierKey,
}

impl SigningKey {
    fn from_seed(name: KeyName, kind: KeyKind, seed: &[u8]) -> Result<Self, InvalidSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidSeed)?;
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| InvalidSeed)?;
        Ok(Self { pair, verifier_key: VerifierKey::new(name, kind, public_key) })
    }

    fn signature(&self, bytes: Vec<u8>) -> NoteSignature {
        NoteSignature::new(self.verifier_key.name().clone(), self.verifier_key.id(), bytes)
    }
}

impl Signer {
    /// The key of a seed of [`SEED_BYTES`].
    pub fn from_seed(name: KeyName, seed: &[u8]) -> Result<Self, InvalidSeed> {
        SigningKey::from_seed(name, KeyKind::Ed25519, seed).map(Self)
    }

    /// The key that checks its signatures.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.0.verifier_key
    }

    pub fn sign(&self, text: &NoteText) -> NoteSignature {
        self.0.signature(self.0.pair.sign(text.as_str().as_bytes()).as_ref().to_vec())
    }
}

impl Cosigner {
    /// The key of a seed of [`SEED_BYTES`]. Each cosigner needs a seed of its own: what it signs does not have its name.
    pub fn from_seed(name: KeyName, seed: &[u8]) -> Result<Self, InvalidSeed> {
        SigningKey::from_seed(name, KeyKind::CosignatureV1, seed).map(Self)
    }

    /// The key that checks its signatures.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.0.verifier_key
    }

    /// Signs the text of a checkpoint at a time, in seconds since 1970. The specification ends with second 2^63 - 1, which stands
    /// for any later one.
    pub fn cosign(&self, text: &NoteText, unix_seconds: u64) -> NoteSignature {
        let unix_seconds = unix_seconds.min(UNIX_SECONDS_MAX);
        let signature = self.0.pair.sign(&cosigned_message(text, unix_seconds));
        self.0.signature([&unix_seconds.to_be_bytes(), signature.as_ref()].concat())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.0.verifier_key)
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.0.verifier_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_32_bytes_and_is_not_shown() {
        let name: KeyName = "example.com/log".parse().expect("a name");
        let seed = *b"not to be shown, not to be shown";
        for len in [0, 31] {
            assert!(Signer::from_seed(name.clone(), &seed[..len]).is_err(), "{len}");
        }
        let signer = Signer::from_seed(name.clone(), &seed).expect("a seed");
        let cosigner = Cosigner::from_seed(name, &seed).expect("a seed");
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.verifier_key()));
        assert_eq!(format!("{cosigner:?}"), format!("Cosigner({})", cosigner.verifier_key()));
    }
}

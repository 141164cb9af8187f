//! The text of a key that signs, as Go's package `note` writes it:
//! `PRIVATE+KEY+<name>+<id in hexadecimal>+<base64 of kind and seed>`, with the id of the key that checks its signatures. Whoever
//! has the text can sign.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::key::{KeyKind, VerifierKey};
use crate::signer::{Cosigner, SEED_BYTES};

const PREFIX: &str = "PRIVATE+KEY+";

/// The text is not the key of a cosigner, or a part of it was changed. Which one is not said: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cosigner's key is PRIVATE+KEY+<name>+<id>+<base64> with the type 0x04 and the id of its name and its seed")]
pub struct MalformedSignerKey;

/// The text of the key that signs what this key checks. The seed must be its seed.
pub fn signer_key_text(key: &VerifierKey, seed: &[u8; SEED_BYTES]) -> String {
    let secret = STANDARD.encode([&[key.kind().byte()][..], seed].concat());
    format!("{PREFIX}{}+{}+{secret}", key.name(), key.id())
}

impl Cosigner {
    /// The key that [`signer_key_text`] has written.
    pub fn from_signer_key(text: &str) -> Result<Self, MalformedSignerKey> {
        parse(text).ok_or(MalformedSignerKey)
    }
}

fn parse(text: &str) -> Option<Cosigner> {
    // The base64 may have more of them.
    let mut parts = text.strip_prefix(PREFIX)?.splitn(3, '+');
    let (name, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let secret = STANDARD.decode(secret).ok()?;
    let seed = secret.strip_prefix(&[KeyKind::CosignatureV1.byte()])?;
    let cosigner = Cosigner::from_seed(name.parse().ok()?, seed).ok()?;
    // It tells whether a digit of the seed was changed.
    (cosigner.verifier_key().id().to_string() == id).then_some(cosigner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::Signer;

    const SEED: [u8; SEED_BYTES] = [7; SEED_BYTES];

    #[test]
    fn a_key_is_read_as_it_is_written_and_one_that_was_changed_is_refused() {
        let cosigner = Cosigner::from_seed("w.example".parse().expect("a name"), &SEED).expect("a seed");
        let text = signer_key_text(cosigner.verifier_key(), &SEED);
        assert_eq!(Cosigner::from_signer_key(&text).expect("a key").verifier_key(), cosigner.verifier_key());
        let signer = Signer::from_seed("w.example".parse().expect("a name"), &SEED).expect("a seed");
        let of_a_log = signer_key_text(signer.verifier_key(), &SEED);
        let (all_but_last, _) = text.split_at(text.len() - 5);
        let (other_name, other_seed) = (text.replacen("w.example", "v.example", 1), text.replacen("cHBw", "cHBx", 1));
        for wrong in ["", "x", all_but_last, &of_a_log, &other_name, &other_seed, &text[12..]] {
            assert_ne!(wrong, text);
            assert_eq!(Cosigner::from_signer_key(wrong).err(), Some(MalformedSignerKey), "{wrong}");
        }
    }
}

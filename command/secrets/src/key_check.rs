//! The check key: the check at the end of every API key is an HMAC under it, which tells keys that this installation issued
//! from made-up texts. It belongs to the installation and not to the node: a new node's key must not invalidate the API keys
//! that were issued.

use std::fmt;

use events::content::ContentSalts;
use ring::hmac;

use super::KeyMacs;

/// Signs new API keys, and recognizes them later. Never shown, and stored only wrapped.
#[derive(Clone)]
pub struct KeyCheck(hmac::Key);

impl KeyCheck {
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Returns whether `tag` signs the text, in constant time.
    pub(super) fn verifies(&self, text: &str, tag: &[u8]) -> bool {
        hmac::verify(&self.0, text.as_bytes(), tag).is_ok()
    }

    /// The salts of digests of content, derived for this installation.
    pub fn content_salts(&self) -> ContentSalts {
        // Another purpose would make every salt another one.
        ContentSalts::new(self.sign("ledgerway content salt").as_ref())
    }

    /// The HMACs of key secrets, under a key derived for this installation.
    pub fn key_macs(&self) -> KeyMacs {
        // Another purpose would make every API key another one.
        KeyMacs::new(self.sign("ledgerway key secrets v1").as_ref())
    }

    /// The key of the fingerprints of requests, derived for this installation and a salt. Without both, nobody can compare a
    /// fingerprint with a guess.
    pub fn fingerprint_key(&self, salt: &[u8]) -> hmac::Key {
        // Another purpose would make every fingerprint another one, and no retry would be recognized.
        let secret = hmac::sign(&self.0, &[b"ledgerway request fingerprint ".as_slice(), salt].concat());
        hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref())
    }

    /// Signs a text: 32 bytes.
    pub fn sign(&self, text: &str) -> hmac::Tag {
        hmac::sign(&self.0, text.as_bytes())
    }
}

impl fmt::Debug for KeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCheck([redacted])")
    }
}

//! What tells the keys that this installation gave out from texts that somebody made up: the check at the end of a key is
//! an HMAC under this one. It is the installation's and not the node's: a new node's key must not end every key that was
//! given out.

use std::fmt;

use ring::hmac;

/// Signs the keys that are given out, and knows them again. Neither shown nor stored as it is.
#[derive(Clone)]
pub struct KeyCheck(hmac::Key);

impl KeyCheck {
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Marks a text as made by this installation: 32 bytes.
    pub fn sign(&self, text: &str) -> hmac::Tag {
        hmac::sign(&self.0, text.as_bytes())
    }
}

impl fmt::Debug for KeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCheck([redacted])")
    }
}

//! The node's key: 32 bytes that everything secret at rest hangs on. What is used is derived from it by HKDF-SHA256, a
//! key a purpose, and the bytes themselves are not kept.

use std::fmt;
use std::path::{Path, PathBuf};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::ids::IdMaker;
use ring::hkdf;

use super::file::{self, SecretFileError};
use super::{KeyCheck, Secret};
use crate::hex;

/// Name of the environment variable that can hold the key.
pub const VARIABLE: &str = "LEDGERWAY_NODE_KEY";
/// Name of the environment variable that holds the key before, while everything is sealed anew.
pub const PREVIOUS_VARIABLE: &str = "LEDGERWAY_NODE_KEY_PREVIOUS";
/// Name of the file that holds it where the variable is not set.
pub const FILE: &str = "node.key";
/// Name of the file that holds a new key until it takes the place of the other.
pub const NEXT_FILE: &str = "node-next.key";
/// Bytes of a fingerprint: enough to tell keys apart.
const FINGERPRINT_LEN: usize = 8;

const SALT: &[u8] = b"ledgerway node key v1";

/// There is no usable node's key.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    #[error("{VARIABLE} must be 64 hexadecimal digits, for example the output of `openssl rand -hex 32`")]
    Variable,
    #[error("{} must hold 64 hexadecimal digits", path.display())]
    Malformed { path: PathBuf },
    /// A new one would open nothing of what is there, and no key that was given out would work any more.
    #[error("{} is missing, and what is stored was sealed under it", path.display())]
    Lost { path: PathBuf },
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// The keys that this node derives from its own. Neither shown nor stored.
#[derive(Clone)]
pub struct NodeKey {
    wrapping: XChaCha20Poly1305,
    /// What API keys were checked with until version 0.1.0, and what an installation of then goes on with.
    key_check: [u8; 32],
    fingerprint: [u8; FINGERPRINT_LEN],
}

impl NodeKey {
    /// Of an installation that has been used: from `variable` (64 hex digits) where it is set, else from `DIR/node.key`.
    pub fn load(variable: Option<&str>, data: &Path) -> Result<Self, NodeKeyError> {
        let path = data.join(FILE);
        match variable {
            Some(hex) => Self::from_variable(hex),
            None => Self::in_file(&path)?.ok_or(NodeKeyError::Lost { path }),
        }
    }

    /// The one in a file; `None` where there is no such file.
    pub fn in_file(path: &Path) -> Result<Option<Self>, NodeKeyError> {
        let Some(hex) = file::read(path)? else { return Ok(None) };
        Self::from_hex(hex.reveal()).map(Some).ok_or_else(|| NodeKeyError::Malformed { path: path.to_owned() })
    }

    /// Of a new installation: the same, and the file is made where neither is there.
    pub fn load_or_make(variable: Option<&str>, data: &Path, ids: &IdMaker) -> Result<Self, NodeKeyError> {
        if variable.is_none() {
            file::read_or_make(&data.join(FILE), || Secret::new(hex::lower(&ids.bytes::<32>())))?;
        }
        Self::load(variable, data)
    }

    /// Errors: anything but 64 hexadecimal digits.
    pub fn from_variable(hex: &str) -> Result<Self, NodeKeyError> {
        Self::from_hex(hex.trim()).ok_or(NodeKeyError::Variable)
    }

    /// From the key's own bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes);
        let mut wrapping = derived(&root, b"wrapping");
        let mut fingerprint = [0; FINGERPRINT_LEN];
        fingerprint.copy_from_slice(&derived(&root, b"fingerprint")[..FINGERPRINT_LEN]);
        let keys = Self {
            wrapping: XChaCha20Poly1305::new((&wrapping).into()),
            key_check: derived(&root, b"key check"),
            fingerprint,
        };
        wipe(&mut wrapping);
        keys
    }

    fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = from_hex(hex)?;
        let key = Self::from_bytes(&bytes);
        wipe(&mut bytes);
        Some(key)
    }

    /// 16 hexadecimal digits that tell this key from others, and by which it cannot be found.
    pub fn fingerprint(&self) -> String {
        hex::lower(&self.fingerprint)
    }

    /// What API keys are checked with where the log has no key of its own for that.
    pub fn derived_key_check(&self) -> KeyCheck {
        KeyCheck::from_bytes(&self.key_check)
    }

    /// The bytes of the same, to be wrapped.
    pub(super) const fn derived_key_check_bytes(&self) -> &[u8; 32] {
        &self.key_check
    }

    /// The cipher that data keys are wrapped under.
    pub(super) const fn wrapping(&self) -> &XChaCha20Poly1305 {
        &self.wrapping
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        wipe(&mut self.key_check);
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey([redacted])")
    }
}

fn derived(root: &hkdf::Prk, purpose: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let info = [purpose];
    // Both lengths are constants that HKDF-SHA256 allows: up to 255 times its 32 bytes.
    let filled = root.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
    filled.expect("32 bytes are one block of HKDF-SHA256");
    bytes
}

/// Overwrites key material that is not needed any more; the black box keeps the writes from being optimised away.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?];
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::SystemRandom;
    use events::time::SystemClock;

    use super::*;

    fn ids() -> IdMaker {
        IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
    }

    #[test]
    fn the_key_in_the_folder_is_made_once_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let made = NodeKey::load_or_make(None, folder.path(), &ids()).unwrap();
        let read = NodeKey::load_or_make(None, folder.path(), &ids()).unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_eq!(format!("{made:?} {:?}", made.derived_key_check()), "NodeKey([redacted]) KeyCheck([redacted])");
    }

    #[test]
    fn a_key_that_was_lost_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(NodeKey::load(None, folder.path()), Err(NodeKeyError::Lost { .. })));
        assert!(!folder.path().join(FILE).exists());
        let made = NodeKey::load_or_make(None, folder.path(), &ids()).unwrap();
        let read = NodeKey::load(None, folder.path()).unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
    }

    /// Keys that version 0.1.0 gave out are checked with what is derived in this way.
    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let key = NodeKey::from_bytes(&[7; 32]);
        assert_eq!(
            hex::lower(key.derived_key_check().sign("sgk_").as_ref()),
            "a7880f9531ecd435f19e5d1a28fdc310854a3251b16379e897be1c80a0c709ae"
        );
        assert_eq!(key.fingerprint(), "27bb8e6627a5b5db");
    }

    #[test]
    fn the_variable_wins_and_must_be_64_hex_digits() {
        let folder = tempfile::tempdir().unwrap();
        let hex = "0f".repeat(32);
        let given = NodeKey::load_or_make(Some(&hex), folder.path(), &ids()).unwrap();
        assert_eq!(given.fingerprint(), NodeKey::from_bytes(&[0x0f; 32]).fingerprint());
        assert!(!folder.path().join(FILE).exists(), "nothing is written where the variable is set");
        for wrong in ["", "0f", &"0g".repeat(32), &"é".repeat(32), &"0f".repeat(33)] {
            assert!(
                matches!(NodeKey::load_or_make(Some(wrong), folder.path(), &ids()), Err(NodeKeyError::Variable)),
                "{wrong}"
            );
        }
    }
}

//! The node's key: 32 bytes that protect all secrets at rest. HKDF-SHA256 derives one key per purpose from it; the bytes
//! themselves are not kept in memory.

use std::fmt;
use std::path::{Path, PathBuf};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::hex;
use events::ids::IdMaker;
use ring::hkdf;

use super::file::{self, SecretFileError};
use super::identity::Identity;
use super::{KeyCheck, Secret};

/// The environment variable that can hold the key.
pub const VARIABLE: &str = "LEDGERWAY_NODE_KEY";
/// The environment variable that holds the old key during `reseal`.
pub const PREVIOUS_VARIABLE: &str = "LEDGERWAY_NODE_KEY_PREVIOUS";
/// The file that holds the key if the variable is not set.
pub const FILE: &str = "node.key";
/// The file that holds a new key until it replaces the old file.
pub const NEXT_FILE: &str = "node-next.key";
/// Length of a fingerprint in bytes: enough to tell keys apart.
const FINGERPRINT_LEN: usize = 8;

const SALT: &[u8] = b"ledgerway node key v1";

/// No usable node's key was found.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    #[error("{VARIABLE} must be 64 hexadecimal digits, for example the output of `openssl rand -hex 32`")]
    Variable,
    #[error("{} must hold 64 hexadecimal digits", path.display())]
    Malformed { path: PathBuf },
    /// A new key would open none of the stored secrets, and every API key that was issued would stop working.
    #[error("{} is missing, and the stored secrets are sealed under it", path.display())]
    Lost { path: PathBuf },
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// The keys that are derived from the node's key. Neither shown nor stored.
#[derive(Clone)]
pub struct NodeKey {
    /// Wraps data keys.
    pub(super) wrapping: XChaCha20Poly1305,
    /// Opens tenants' keys that are wrapped to this node.
    pub(super) identity: Identity,
    /// The check key of version 0.1.0, which an installation of that version keeps.
    pub(super) key_check: [u8; 32],
    /// The secret from which the first data keys are derived.
    first_data_keys: [u8; 32],
    fingerprint: [u8; FINGERPRINT_LEN],
}

impl NodeKey {
    /// Loads the key of a folder that is in use: from `variable` (64 hex digits) if it is set, else from `DIR/node.key`.
    pub fn load(variable: Option<&str>, data: &Path) -> Result<Self, NodeKeyError> {
        let path = data.join(FILE);
        match variable {
            Some(hex) => Self::from_variable(hex),
            None => Self::in_file(&path)?.ok_or(NodeKeyError::Lost { path }),
        }
    }

    /// Reads the key from a file; `None` if there is no such file.
    pub fn in_file(path: &Path) -> Result<Option<Self>, NodeKeyError> {
        let Some(hex) = file::read(path)? else { return Ok(None) };
        Self::from_hex(hex.reveal()).map(Some).ok_or_else(|| NodeKeyError::Malformed { path: path.to_owned() })
    }

    /// Loads the key of a new folder: like [`NodeKey::load`], but creates a missing file.
    pub fn load_or_make(variable: Option<&str>, data: &Path, ids: &IdMaker) -> Result<Self, NodeKeyError> {
        if variable.is_none() {
            file::read_or_make(&data.join(FILE), || Secret::new(hex::lower(&ids.bytes::<32>())))?;
        }
        Self::load(variable, data)
    }

    /// Errors: not 64 hexadecimal digits.
    pub fn from_variable(hex: &str) -> Result<Self, NodeKeyError> {
        Self::from_hex(hex.trim()).ok_or(NodeKeyError::Variable)
    }

    /// Derives the keys from the node's key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes);
        let mut wrapping = derived(&root, b"wrapping");
        let mut identity = derived(&root, b"age identity");
        let mut fingerprint = [0; FINGERPRINT_LEN];
        fingerprint.copy_from_slice(&derived(&root, b"fingerprint")[..FINGERPRINT_LEN]);
        let keys = Self {
            wrapping: XChaCha20Poly1305::new((&wrapping).into()),
            identity: Identity::from_bytes(&identity),
            key_check: derived(&root, b"key check"),
            first_data_keys: derived(&root, b"first data keys"),
            fingerprint,
        };
        wipe(&mut wrapping);
        wipe(&mut identity);
        keys
    }

    fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = hex::parse(hex)?;
        let key = Self::from_bytes(&bytes);
        wipe(&mut bytes);
        Some(key)
    }

    /// 16 hexadecimal digits that tell this key from others and reveal nothing about it.
    pub fn fingerprint(&self) -> String {
        hex::lower(&self.fingerprint)
    }

    /// The data key of a scope that has none yet in a log that nodes of this key share. Derived, so that nodes which need it at
    /// the same time make the same one, and none seals under a key that another node replaces. `reseal` replaces it with a
    /// random one.
    pub(super) fn first_data_key(&self, scope: &str) -> [u8; 32] {
        derived(&hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.first_data_keys), scope.as_bytes())
    }

    /// The check key of API keys for a log that has not stored one.
    pub fn derived_key_check(&self) -> KeyCheck {
        KeyCheck::from_bytes(&self.key_check)
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        wipe(&mut self.key_check);
        wipe(&mut self.first_data_keys);
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey([redacted])")
    }
}

/// 32 bytes for one purpose. Equal in every version.
pub(super) fn derived(root: &hkdf::Prk, purpose: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let info = [purpose];
    // Both lengths are constants that HKDF-SHA256 allows: up to 255 times its 32 bytes.
    let filled = root.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
    filled.expect("32 bytes are one block of HKDF-SHA256");
    bytes
}

/// Overwrites key material after its use; the black box keeps the writes from being optimised away.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
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

    /// API keys that version 0.1.0 issued are checked with this derived key.
    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let key = NodeKey::from_bytes(&[7; 32]);
        assert_eq!(
            hex::lower(key.derived_key_check().sign("sgk_").as_ref()),
            "a7880f9531ecd435f19e5d1a28fdc310854a3251b16379e897be1c80a0c709ae"
        );
        assert_eq!(key.fingerprint(), "27bb8e6627a5b5db");
        // Two versions of the gateway may make it at the same time.
        assert_eq!(
            hex::lower(&key.first_data_key("platform")),
            "b6358b30ff36a2ac743cdc4d3f751b2514c16fc26ced79a313a44b75697f5601"
        );
        assert_ne!(key.first_data_key("platform"), key.first_data_key("ten_1"));
        assert_ne!(key.first_data_key("platform"), NodeKey::from_bytes(&[8; 32]).first_data_key("platform"));
        // Tenants' keys are wrapped to this one.
        let recipient = key.identity.to_public().to_string();
        assert_eq!(recipient, "age15rq2kv4827jdl8l80p227mv5xwxpz3v706hrgrj8cc3yq9drzexsz52q8l");
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

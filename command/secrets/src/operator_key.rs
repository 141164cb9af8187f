//! The operator's key: set in the environment, or created at the first start.

use std::path::{Path, PathBuf};

use events::ids::IdMaker;

use super::Secret;
use super::file::{self, SecretFileError};
use crate::base62;

/// The environment variable that can hold the key.
pub const VARIABLE: &str = "LEDGERWAY_ADMIN_KEY";
/// The file that holds the key if the variable is not set.
pub const FILE: &str = "admin.key";
const LEN_MIN: usize = 32;

/// No usable operator's key was found. The message never repeats the value.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
    #[error(
        "{VARIABLE} must be at least {LEN_MIN} visible ASCII characters, for example the output of `openssl rand -hex 32`"
    )]
    Variable,
    #[error("{FILE} must hold at least {LEN_MIN} visible ASCII characters")]
    Malformed,
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// The operator's key.
pub struct OperatorKey {
    pub key: Secret,
    /// The file of a key that was created now. Print this path, never the key.
    pub made: Option<PathBuf>,
}

/// Loads the key from `variable` if it is set, else from `DIR/admin.key` (0600), which the first start creates.
pub fn load(variable: Option<&str>, data: &Path, ids: &IdMaker) -> Result<OperatorKey, OperatorKeyError> {
    if let Some(given) = variable {
        let key = Some(given.trim()).filter(|key| is_strong(key)).ok_or(OperatorKeyError::Variable)?;
        return Ok(OperatorKey { key: Secret::new(key), made: None });
    }
    let path = data.join(FILE);
    let (key, made) =
        file::read_or_make(&path, || Secret::new(format!("sgk_operator_{}", base62::of_256_bits(ids.bytes()))))?;
    if !is_strong(key.reveal()) {
        return Err(OperatorKeyError::Malformed);
    }
    Ok(OperatorKey { key, made: made.then_some(path) })
}

/// True for at least 32 visible ASCII characters.
pub fn is_strong(key: &str) -> bool {
    key.len() >= LEN_MIN && key.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::SystemRandom;
    use events::time::SystemClock;

    use super::*;

    /// Holds: bin.operator-key-made
    #[test]
    fn a_key_is_made_once_where_none_is_given() {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let folder = tempfile::tempdir().unwrap();
        let made = load(None, folder.path(), &ids).unwrap();
        assert_eq!(made.made, Some(folder.path().join(FILE)));
        let again = load(None, folder.path(), &ids).unwrap();
        assert_eq!((again.key.reveal(), again.made), (made.key.reveal(), None));
        let given = load(Some("operator-key-0123456789-0123456789"), folder.path(), &ids).unwrap();
        assert_eq!(given.key.reveal(), "operator-key-0123456789-0123456789");
    }

    /// Holds: bin.operator-key
    #[test]
    fn a_short_key_is_refused_by_its_variable_and_not_repeated() {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let folder = tempfile::tempdir().unwrap();
        for weak in ["", "too-short-a-key", &" ".repeat(40), &"é".repeat(40)] {
            let error = load(Some(weak), folder.path(), &ids).err().unwrap();
            assert!(matches!(error, OperatorKeyError::Variable));
            assert!(error.to_string().contains(VARIABLE) && !error.to_string().contains("too-short"));
        }
    }
}

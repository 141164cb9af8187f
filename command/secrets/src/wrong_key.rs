//! Advice for a start with a wrong or missing node's key: which of the other keys that the gateway can read opens the
//! folder's secrets, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use super::NodeKey;
use super::node_key::{FILE, NEXT_FILE, PREVIOUS_VARIABLE, VARIABLE};
use super::reseal::StoredSecrets;

/// The configured node's key does not open the folder's secrets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{configured}{advice}")]
pub struct WrongNodeKey {
    configured: ConfiguredKey,
    advice: Advice,
}

/// Where the key would have come from.
#[derive(Debug, PartialEq, Eq)]
enum ConfiguredKey {
    Variable { dir: PathBuf },
    File { path: PathBuf, dir: PathBuf },
    Missing { path: PathBuf, dir: PathBuf },
}

/// The key that opens the secrets, if one was found.
#[derive(Debug, PartialEq, Eq)]
enum Advice {
    /// A reseal was recorded, but did not finish.
    Next {
        path: PathBuf,
        dir: PathBuf,
    },
    /// The secrets have not been resealed yet.
    Previous {
        dir: PathBuf,
    },
    /// The file has the right key, and the variable hides it.
    File {
        path: PathBuf,
    },
    None {
        path: PathBuf,
    },
}

impl WrongNodeKey {
    /// `given` and `previous` are the values of the two variables.
    pub fn find(stored: &StoredSecrets, data: &Path, given: Option<&str>, previous: Option<&str>) -> Self {
        let (dir, path, next) = (data.to_owned(), data.join(FILE), data.join(NEXT_FILE));
        let configured = match given {
            Some(_) => ConfiguredKey::Variable { dir: dir.clone() },
            None if path.exists() => ConfiguredKey::File { path: path.clone(), dir: dir.clone() },
            None => ConfiguredKey::Missing { path: path.clone(), dir: dir.clone() },
        };
        let opens = |key: Option<NodeKey>| key.is_some_and(|key| stored.opens_under(&key));
        let in_file = |path: &Path| NodeKey::in_file(path).ok().flatten();
        let advice = if opens(in_file(&next)) {
            Advice::Next { path: next, dir }
        } else if given.is_some() && opens(in_file(&path)) {
            Advice::File { path }
        } else if opens(previous.and_then(|hex| NodeKey::from_variable(hex).ok())) {
            Advice::Previous { dir }
        } else {
            Advice::None { path }
        };
        Self { configured, advice }
    }
}

impl fmt::Display for ConfiguredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OF: &str = "the key that the secrets in";
        match self {
            Self::Variable { dir } => write!(f, "{VARIABLE} is not {OF} {} are sealed under", dir.display()),
            Self::File { path, dir } => write!(f, "{} is not {OF} {} are sealed under", path.display(), dir.display()),
            Self::Missing { path, dir } => {
                let (path, dir) = (path.display(), dir.display());
                write!(f, "{path}, {OF} {dir} are sealed under, is missing, and {VARIABLE} is not set")
            }
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next { path, dir } => write!(
                f,
                ": {} is that key, of a reseal that was interrupted after it was recorded; finish it with \
                 `ledgerway reseal --data {}`",
                path.display(),
                dir.display()
            ),
            Self::Previous { dir } => write!(
                f,
                ": {PREVIOUS_VARIABLE} is; seal everything under the new key with `ledgerway reseal --data {}`, then start \
                 again",
                dir.display()
            ),
            Self::File { path } => write!(
                f,
                ": {} is; unset {VARIABLE}, or make it the new key with `ledgerway reseal` and {PREVIOUS_VARIABLE} set to what \
                 that file holds",
                path.display()
            ),
            Self::None { path } => write!(
                f,
                "; set {VARIABLE} to the right key, or put it back into {}; if it is lost, `ledgerway reseal --help` and \
                 docs/keys.md say what can be saved",
                path.display()
            ),
        }
    }
}

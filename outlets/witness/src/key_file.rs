//! The file with the key of a witness: the text of a key that signs ([`tlog::signer_key_text`]). The name belongs to the key: the same
//! key under two names would be two witnesses that are one.

use std::io;
use std::path::{Path, PathBuf};

use events::ids::Random;
use events::private;
use tlog::{Cosigner, KeyName, SEED_BYTES, signer_key_text};

/// The key of a witness cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not the key of a witness: restore it from a copy", path.display())]
    Malformed { path: PathBuf },
    #[error("the key in {} is that of {found}, not of {given}: start with that name, or in another folder", path.display())]
    OtherName { path: PathBuf, found: KeyName, given: KeyName },
    /// A new key under the same name could contradict what the lost one has signed.
    #[error(
        "{} is missing, and there are checkpoints that were cosigned with it: restore it from a copy, or begin with another name in another folder",
        path.display()
    )]
    Lost { path: PathBuf },
}

/// Reads the key; `None` if there is no such file. Removes other users' access to the file.
pub fn read(path: &Path, name: &KeyName) -> Result<Option<Cosigner>, KeyError> {
    private::close_to_others(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyError::Read { path: path.to_owned(), source }),
    };
    let cosigner =
        Cosigner::from_signer_key(text.trim_end()).map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
    let found = cosigner.verifier_key().name();
    if found != name {
        return Err(KeyError::OtherName { path: path.to_owned(), found: found.clone(), given: name.clone() });
    }
    Ok(Some(cosigner))
}

/// Makes a key and writes it (0600).
pub fn make(path: &Path, name: &KeyName, random: &dyn Random) -> Result<Cosigner, KeyError> {
    let mut seed = [0; SEED_BYTES];
    random.fill(&mut seed);
    let cosigner =
        Cosigner::from_seed(name.clone(), &seed).map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
    let text = format!("{}\n", signer_key_text(cosigner.verifier_key(), &seed));
    let written = private::replace(path, text.as_bytes());
    written.map_err(|error| KeyError::Write { path: path.to_owned(), source: error.into() })?;
    Ok(cosigner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use events::ids::SystemRandom;

    use super::*;

    fn name(text: &str) -> KeyName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_key_is_made_once_and_belongs_to_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, w1) = (folder.path().join("witness.key"), name("witness.example/w1"));
        assert!(read(&path, &w1).expect("no file").is_none());
        let made = make(&path, &w1, &SystemRandom).expect("a key");
        let again = read(&path, &w1).expect("a file").expect("a key");
        assert_eq!(made.verifier_key(), again.verifier_key());
        assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let other = read(&path, &name("witness.example/w2")).expect_err("another name");
        assert!(matches!(other, KeyError::OtherName { .. }), "{other}");
        assert_ne!(make(&path, &w1, &SystemRandom).expect("a key").verifier_key(), made.verifier_key());
    }
}

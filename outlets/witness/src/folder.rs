//! The folder of a witness: its key, and a file for each log with the stored checkpoint. One process at a time uses it. Nobody may
//! put an older copy of a file into it: the witness would cosign what contradicts the newer one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use events::hex;
use events::ids::Random;
use events::private::{self, ReplaceError};
use events_log::lock::{FolderError, FolderLock};
use ring::digest::{SHA256, digest};
use tlog::{Cosigner, KeyName, VerifierKey};

use crate::key_file::{self, KeyError};
use crate::stored_checkpoint::{NotAStoredCheckpoint, StoredCheckpoint};

/// The file with the witness's key.
pub const KEY_FILE: &str = "witness.key";
/// The end of the names of files with stored checkpoints.
const CHECKPOINT_SUFFIX: &str = ".checkpoint";

/// A folder that no other process uses.
pub struct WitnessFolder {
    path: PathBuf,
    _lock: FolderLock,
}

/// The stored checkpoint of a log cannot be used. It is not begun anew: that would be another history.
#[derive(Debug, thiserror::Error)]
pub enum StoredCheckpointError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not the stored checkpoint of a log: {source}; restore it, unless there is only an older copy", path.display())]
    Damaged { path: PathBuf, source: NotAStoredCheckpoint },
}

impl WitnessFolder {
    /// Creates the folder if it is missing, and takes its lock.
    pub fn create_and_lock(path: &Path) -> Result<Self, FolderError> {
        Ok(Self { _lock: FolderLock::create_and_take(path)?, path: path.to_owned() })
    }

    /// The key of the witness. In a new folder, it is made.
    pub fn key(&self, name: &KeyName, random: &dyn Random) -> Result<Cosigner, KeyError> {
        let path = self.path.join(KEY_FILE);
        if let Some(cosigner) = key_file::read(&path, name)? {
            return Ok(cosigner);
        }
        match self.has_stored_checkpoints() {
            Ok(false) => key_file::make(&path, name, random),
            Ok(true) => Err(KeyError::Lost { path }),
            Err(source) => Err(KeyError::Read { path: self.path.clone(), source }),
        }
    }

    /// The stored checkpoint of a log; `None` if this witness has cosigned none.
    pub fn stored_checkpoint(
        &self,
        origin: &str,
        witness: &VerifierKey,
    ) -> Result<Option<StoredCheckpoint>, StoredCheckpointError> {
        let path = self.path_of(origin);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoredCheckpointError::Read { path, source }),
        };
        let cosigned = StoredCheckpoint::parse(&bytes, origin, witness);
        cosigned.map(Some).map_err(|source| StoredCheckpointError::Damaged { path, source })
    }

    /// Replaces the stored checkpoint of a log. Once this returns, a crash leaves the new one; an error leaves either.
    pub fn store(&self, origin: &str, cosigned: &StoredCheckpoint) -> Result<(), ReplaceError> {
        private::replace(&self.path_of(origin), cosigned.to_string().as_bytes())
    }

    /// An origin may have any characters, so that its file is named by its hash.
    fn path_of(&self, origin: &str) -> PathBuf {
        let name = hex::lower(digest(&SHA256, origin.as_bytes()).as_ref());
        self.path.join(format!("{name}{CHECKPOINT_SUFFIX}"))
    }

    fn has_stored_checkpoints(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            if entry?.file_name().to_string_lossy().ends_with(CHECKPOINT_SUFFIX) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

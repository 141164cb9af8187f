//! A folder for what a command builds and throws away. It has a ledger's size.

use std::path::{Path, PathBuf};

use events::hex;
use events::private::create_folder;

use super::{Failure, new_ids, print_error};

/// Removed when it is dropped.
pub struct ScratchFolder {
    path: PathBuf,
}

impl ScratchFolder {
    /// In the folder for temporary files, which `TMPDIR` names.
    pub fn create() -> Result<Self, Failure> {
        let name = new_ids().bytes::<8>();
        Self::create_at(std::env::temp_dir().join(format!("ledgerway-{}", hex::lower(&name))))
    }

    /// In another folder. What is there is removed first.
    pub fn create_at(path: PathBuf) -> Result<Self, Failure> {
        let not_created =
            |error: &std::io::Error| Failure::NotBegun(format!("cannot create the folder {}: {error}", path.display()));
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| not_created(&error))?;
        }
        create_folder(&path).map_err(|error| not_created(&error))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            print_error(&format!("{} is left over: {error}", self.path.display()));
        }
    }
}

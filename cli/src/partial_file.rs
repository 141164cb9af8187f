//! The file that a command makes, which must be a new one: it has its name only once it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use events::hex;
use events::private::{beside, create_new, place_new};

use super::{Failure, new_ids, print_error};
use crate::arguments::is_address;

/// Refuses the name of a file that is there. `example` is one that is not.
pub fn must_be_free(file: &Path, example: &str) -> Result<(), Failure> {
    if file.to_str().is_some_and(is_address) {
        return Err(Failure::NotBegun(format!("--into must be a file, for example --into {example}")));
    }
    // Also a link that leads nowhere.
    match fs::symlink_metadata(file) {
        Ok(_) => Err(Failure::NotBegun(format!("{} exists: give --into the name of a new file", file.display()))),
        // What else is wrong shows when the file is created.
        Err(_) => Ok(()),
    }
}

/// The file while it is being built, beside the one that it is to become. Removed when it is dropped.
pub struct PartialFile {
    path: PathBuf,
}

impl PartialFile {
    /// The file is open for writing.
    pub fn create(file: &Path) -> Result<(Self, File), Failure> {
        let id = new_ids().bytes::<8>();
        let path = beside(file, &format!("-partial-{}", hex::lower(&id)));
        let opened = create_new(&path)
            .map_err(|error| Failure::NotBegun(format!("cannot create a file beside {}: {error}", file.display())))?;
        Ok((Self { path }, opened))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    pub fn place(self, file: &Path) -> Result<(), Failure> {
        place_new(&self.path, file).map_err(|error| {
            Failure::Failed(format!(
                "cannot finish {}: {error}; delete it if it is there, and try again",
                file.display()
            ))
        })
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                print_error(&format!("{} is left over: {error}", self.path.display()));
            }
            _ => {}
        }
    }
}

//! The lock of a data folder, held by one process at a time. The kernel releases it when the process ends, however it ends.
//! The lock file contains the URL of the process that holds the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use events::private;

/// The lock file, locked by the process that serves the folder.
pub const LOCK_FILE: &str = "ledgerway.lock";
/// Attempts to take the lock: a process that checks the lock holds it for an instant.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A data folder cannot be created or locked.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot use the data folder {}: {source}", path.display())]
    UnusableReason { path: PathBuf, source: std::io::Error },
    #[error("another process is using the data folder {}{}", path.display(), what_to_do(url.as_deref()))]
    InUse {
        path: PathBuf,
        /// The URL of the process, if it has published one.
        url: Option<String>,
    },
}

/// Holds the lock of a folder: until it is dropped, no other process may serve or change the folder.
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Creates the folder if it is missing, and takes its lock.
    pub fn create_and_take(dir: &Path) -> Result<Self, FolderError> {
        private::create_folder(dir).map_err(|source| FolderError::UnusableReason { path: dir.to_owned(), source })?;
        Self::take(dir)
    }

    pub fn take(dir: &Path) -> Result<Self, FolderError> {
        let folder = |source| FolderError::UnusableReason { path: dir.to_owned(), source };
        let file = private::open_or_create(&dir.join(LOCK_FILE)).map_err(folder)?;
        for tried in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tried < TRIES => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => {
                    let url = published_address(dir).unwrap_or_default();
                    return Err(FolderError::InUse { path: dir.to_owned(), url });
                }
                Err(TryLockError::Error(source)) => return Err(folder(source)),
            }
        }
        // Remove the address of the last holder.
        file.set_len(0).map_err(folder)?;
        Ok(Self { _file: file })
    }
}

/// The holder of a folder's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockHolder {
    Nobody,
    /// A process that has published no address: it has just started, or does not listen.
    WithoutAddress,
    /// A process that listens at this URL.
    At(String),
}

/// Finds out who holds the lock. Read-only.
pub fn lock_holder(dir: &Path) -> std::io::Result<LockHolder> {
    let file = match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(LockHolder::Nobody),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(LockHolder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(published_address(dir)?.map_or(LockHolder::WithoutAddress, LockHolder::At)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The URL in the lock file; `None` if it has none.
fn published_address(dir: &Path) -> std::io::Result<Option<String>> {
    let text = std::fs::read_to_string(dir.join(LOCK_FILE))?;
    Ok(Some(text.trim().to_owned()).filter(|url| !url.is_empty()))
}

/// A gateway publishes its address. Anything else ends by itself, and should not be stopped in the middle of its work.
fn what_to_do(url: Option<&str>) -> String {
    match url {
        Some(url) => format!(" ({url}): stop it first"),
        None => ": wait until it has ended, or stop it if it is a gateway".to_owned(),
    }
}

/// Writes the URL of this process, which must hold the lock, into the lock file.
pub fn publish_address(dir: &Path, url: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(dir.join(LOCK_FILE))?;
    file.write_all(format!("{url}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_lock_publishes_its_address() {
        let dir = tempfile::tempdir().expect("a folder");
        let holder = || lock_holder(dir.path()).expect("a readable folder");
        assert_eq!(holder(), LockHolder::Nobody);
        let lock = FolderLock::take(dir.path()).expect("the lock");
        assert_eq!(holder(), LockHolder::WithoutAddress);
        publish_address(dir.path(), "http://127.0.0.1:1").expect("an address");
        assert_eq!(holder(), LockHolder::At("http://127.0.0.1:1".to_owned()));
        let refused = FolderLock::take(dir.path()).err().expect("the lock is held").to_string();
        assert!(refused.ends_with(" (http://127.0.0.1:1): stop it first"), "{refused}");
        drop(lock);
        assert_eq!(holder(), LockHolder::Nobody);
        let _lock = FolderLock::take(dir.path()).expect("the lock");
        assert_eq!(holder(), LockHolder::WithoutAddress, "the last holder's address is gone");
    }
}

//! The lock of a data folder: one process at a time. The kernel lets go of it when the process ends, however it ends. In
//! the file stands where the process that holds it can be asked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::private;

/// Held by the process that serves the folder.
pub const LOCK_FILE: &str = "ledgerway.lock";
/// Whoever looks whether the lock is held has it for an instant.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A data folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("create the data folder {}: {source}", path.display())]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error(
        "another process is using the data folder {}; `ledgerway status --data {}` shows where it listens",
        path.display(),
        path.display()
    )]
    InUse { path: PathBuf },
}

/// A folder that no other process may serve or change for as long as this lives.
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub fn take(dir: &Path) -> Result<Self, FolderError> {
        let folder = |source| FolderError::Unusable { path: dir.to_owned(), source };
        let file = private::open_or_create(&dir.join(LOCK_FILE)).map_err(folder)?;
        for tried in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tried < TRIES => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Err(FolderError::InUse { path: dir.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(folder(source)),
            }
        }
        // Nobody is to be asked where the last one was.
        file.set_len(0).map_err(folder)?;
        Ok(Self { _file: file })
    }
}

/// Who has the lock of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    No,
    /// By a process that does not say where it listens: it has just begun, or does not listen.
    Silently,
    /// At this URL.
    At(String),
}

/// Looks who has the lock. Writes nothing.
pub fn served(dir: &Path) -> std::io::Result<Served> {
    let path = dir.join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Served::No),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Served::No),
        Err(TryLockError::WouldBlock) => {
            let text = std::fs::read_to_string(&path)?;
            let url = text.trim();
            Ok(if url.is_empty() { Served::Silently } else { Served::At(url.to_owned()) })
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// For the process that has the lock: says where it can be asked.
pub fn say_where(dir: &Path, url: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(dir.join(LOCK_FILE))?;
    file.write_all(format!("{url}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_lock_says_where_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let look = || served(dir.path()).expect("a look");
        assert_eq!(look(), Served::No);
        let lock = FolderLock::take(dir.path()).expect("the lock");
        assert_eq!(look(), Served::Silently);
        say_where(dir.path(), "http://127.0.0.1:1").expect("an address");
        assert_eq!(look(), Served::At("http://127.0.0.1:1".to_owned()));
        assert!(matches!(FolderLock::take(dir.path()), Err(FolderError::InUse { .. })));
        drop(lock);
        assert_eq!(look(), Served::No);
        let _lock = FolderLock::take(dir.path()).expect("the lock");
        assert_eq!(look(), Served::Silently, "the address is not the last one's");
    }
}

//! Files that hold one secret: only their owner can read them, and a write is complete or leaves nothing. Only
//! [`replace`] overwrites a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use events::private;

use super::Secret;

/// A secret's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {path}: {source}", path = .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is empty: restore what it held, or delete it", path = .path.display())]
    Empty { path: PathBuf },
}

/// The secret in `path`, without surrounding white space; `None` if there is no such file. Removes other users' access to the
/// file.
pub fn read(path: &Path) -> Result<Option<Secret>, SecretFileError> {
    private::close_to_others(path);
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(SecretFileError::Empty { path: path.to_owned() }),
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretFileError::Read { path: path.to_owned(), source }),
    }
}

/// Writes `secret` and a line end to `path` (0600). A crash leaves the whole file or none; an existing file is an error.
pub fn write_new(path: &Path, secret: &Secret) -> Result<(), SecretFileError> {
    write_and_link(path, secret).map_err(|source| SecretFileError::Write { path: path.to_owned(), source })
}

/// Renames `next` to `path`, replacing a file that is there. A crash leaves either the old file or the new one.
pub fn replace(next: &Path, path: &Path) -> Result<(), SecretFileError> {
    let renamed = fs::rename(next, path).and_then(|()| sync_folder_of(path));
    renamed.map_err(|source| SecretFileError::Write { path: path.to_owned(), source })
}

/// Removes a secret's file; a missing file is no error.
pub fn remove(path: &Path) -> Result<(), SecretFileError> {
    remove_if_there(path).map_err(|source| SecretFileError::Write { path: path.to_owned(), source })
}

/// The secret in `path`; if there is no such file, writes a new secret from `make`. The flag is true for a new one.
pub fn read_or_make(path: &Path, make: impl FnOnce() -> Secret) -> Result<(Secret, bool), SecretFileError> {
    if let Some(secret) = read(path)? {
        return Ok((secret, false));
    }
    let secret = make();
    write_new(path, &secret)?;
    Ok((secret, true))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn write_and_link(path: &Path, secret: &Secret) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A file that a crash left here was never in use.
    remove_if_there(&temporary)?;
    let mut file = private::create_new(&temporary)?;
    file.write_all(secret.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // A link, not a rename: a rename would replace a file that another process has created meanwhile.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_folder_of(path)
}

/// A new or renamed entry is durable only once its folder is synced.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let (first, made) = read_or_make(&path, || Secret::new("first")).unwrap();
        assert_eq!((first.reveal(), made), ("first", true));
        let (again, made) = read_or_make(&path, || Secret::new("second")).unwrap();
        assert_eq!((again.reveal(), made), ("first", false));
        let mode = || std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!((read(&path).unwrap().unwrap().reveal(), mode()), ("first", 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.key");
        write_new(&path, &Secret::new("mine")).unwrap();
        assert!(matches!(write_new(&path, &Secret::new("yours")), Err(SecretFileError::Write { .. })));
        assert_eq!(read(&path).unwrap().unwrap().reveal(), "mine");
    }

    #[test]
    fn one_file_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("node.key"), folder.path().join("node-next.key"));
        write_new(&path, &Secret::new("old")).unwrap();
        write_new(&next, &Secret::new("new")).unwrap();
        replace(&next, &path).unwrap();
        assert_eq!((read(&path).unwrap().unwrap().reveal(), next.exists()), ("new", false));
        assert!(matches!(replace(&next, &path), Err(SecretFileError::Write { .. })));
    }

    #[test]
    fn an_empty_file_is_an_error_and_not_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        fs::write(&path, " \n").unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::Empty { .. })));
    }
}

//! Files and folders that only their owner may use. They contain personal data, hashes of keys and sealed secrets, which
//! must depend neither on the umask nor on the mode of a data folder that somebody else created. A file gets its mode when
//! it is created, never afterwards.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// The mode bits of the group and of everybody else.
const OTHERS: u32 = 0o077;
/// The suffix of a file that is about to replace the one without it.
const NEXT: &str = "-next";
/// Suffixes of the files that SQLite keeps beside a database. It creates them with the database's own mode.
pub const BESIDE_A_DATABASE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Creates a file for writing. Errors: it exists already.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Opens a file for writing without truncating it, and creates it if it is missing.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(path)?;
    close_to_others(path);
    Ok(file)
}

/// Why it is not certain that a file was replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The old file is as it was.
    #[error(transparent)]
    NotReplaced(io::Error),
    /// The new file is in its place.
    #[error("it was replaced, but may be the old one again after a power failure: {0}")]
    NotSynced(io::Error),
}

impl From<ReplaceError> for io::Error {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::NotReplaced(error) | ReplaceError::NotSynced(error) => error,
        }
    }
}

/// Replaces a file as a whole, or creates it. A crash leaves the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReplaceError> {
    write_and_rename(path, bytes).map_err(ReplaceError::NotReplaced)?;
    sync_folder_of(path).map_err(ReplaceError::NotSynced)
}

/// A renamed entry is durable only once its folder is synced.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_and_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = beside(path, NEXT);
    // One that a crash has left was never in use.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)
}

/// Gives a finished file the name `path`, which must be free, once its content is synced. A crash leaves it under one of the two
/// names, or under both.
/// Errors: also if somebody has made such a file meanwhile, which stays as it is.
pub fn place_new(finished: &Path, path: &Path) -> io::Result<()> {
    File::open(finished)?.sync_all()?;
    // A link never replaces a file, as a rename does.
    match fs::hard_link(finished, path) {
        Ok(()) => fs::remove_file(finished)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        // A file system without links, as that of a memory stick.
        Err(_) if !path.try_exists()? => fs::rename(finished, path)?,
        Err(error) => return Err(error),
    }
    sync_folder_of(path)
}

/// Creates a folder and its missing parents. A folder that exists is left as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Creates a missing database file, for SQLite to open, or closes an existing one to others; the same for the files beside
/// it. If neither is possible, SQLite reports the error.
pub fn prepare_database(path: &Path) {
    // If it is there already, it is closed below.
    let _ = create_new(path);
    close_database(path);
}

/// Closes a database file, if it is there, and those beside it to others.
fn close_database(path: &Path) {
    close_to_others(path);
    for suffix in BESIDE_A_DATABASE {
        close_to_others(&beside(path, suffix));
    }
}

/// The path of a file beside another one, such as those that SQLite keeps beside a database.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes the permissions of others on a file that an older version created, and leaves the owner's. A missing file is
/// fine; a mode that cannot be changed, since the file is another user's, is only logged.
pub fn close_to_others(path: &Path) {
    if let Err(error) = try_close_to_others(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "other users may read this file, and its mode cannot be changed");
    }
}

fn try_close_to_others(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 { Ok(()) } else { std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn created_files_are_private_and_existing_ones_are_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        create_new(&at("new")).expect("a file");
        open_or_create(&at("lock")).expect("a file");
        prepare_database(&at("new.db"));
        for name in ["new", "lock", "new.db"] {
            assert_eq!(mode(&at(name)), FILE_MODE, "{name}");
        }
        assert!(create_new(&at("new")).is_err());
        for name in ["old.db", "old.db-wal", "old.db-shm", "old.lock", "read-only.db"] {
            std::fs::write(at(name), name).expect("a file");
            let mode = if name.starts_with("read-only") { 0o444 } else { 0o664 };
            std::fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("its mode");
        }
        prepare_database(&at("old.db"));
        prepare_database(&at("read-only.db"));
        open_or_create(&at("old.lock")).expect("a file");
        for name in ["old.db", "old.db-wal", "old.db-shm", "old.lock"] {
            assert_eq!((mode(&at(name)), std::fs::read(at(name)).expect("it is read")), (0o600, name.into()), "{name}");
        }
        assert_eq!(mode(&at("read-only.db")), 0o400, "the owner's permissions are unchanged");
        assert!(!at("old.db-journal").exists());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_whatever_a_crash_has_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, next) = (folder.path().join("file"), folder.path().join("file-next"));
        fs::write(&next, "what a crash has left, which is longer").expect("a file");
        replace(&path, b"first").expect("a file");
        // Another name of the same file, which a write in place would change.
        let link = folder.path().join("link");
        fs::hard_link(&path, &link).expect("a link");
        replace(&path, b"second").expect("another");
        let text = |path: &Path| fs::read_to_string(path).expect("a file");
        assert_eq!((text(&link), text(&path), mode(&path)), ("first".to_owned(), "second".to_owned(), FILE_MODE));
        assert!(!next.exists());
    }

    #[test]
    fn a_finished_file_gets_its_name_unless_it_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let (finished, path) = (folder.path().join("file-partial"), folder.path().join("file"));
        let write = |text: &str| create_new(&finished).and_then(|mut file| file.write_all(text.as_bytes()));
        write("first").expect("a file");
        place_new(&finished, &path).expect("the name is free");
        assert!(!finished.exists());
        write("second").expect("another");
        let taken = place_new(&finished, &path).expect_err("the name is taken");
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).expect("the file"), mode(&path)), (b"first".to_vec(), FILE_MODE));
        assert!(finished.exists(), "what was not placed is left to its maker");
    }

    #[test]
    fn a_folder_is_created_with_its_parents_and_an_existing_one_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = folder.path().join("a/b");
        create_folder(&made).expect("a folder");
        assert_eq!((mode(&made), mode(&folder.path().join("a"))), (FOLDER_MODE, FOLDER_MODE));
        std::fs::set_permissions(&made, Permissions::from_mode(0o755)).expect("its mode");
        create_folder(&made).expect("the same folder");
        assert_eq!(mode(&made), 0o755);
    }
}

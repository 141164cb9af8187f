//! Looking at the databases of a folder without writing anything, also not what SQLite would leave beside a database: a
//! folder that nobody serves is read without locks, and read again where a process began to serve it meanwhile.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::LEDGER_FILE;
use crate::log::lock::{Served, served};
use crate::private::{BESIDE_A_DATABASE, beside};

/// How long a reader waits for a database that is being recovered.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a folder is looked at that somebody writes to meanwhile.
const LOOKS_MAX: u32 = 3;
/// SQLite's own way to its files, without locks.
const WITHOUT_LOCKS: &str = "unix-none";

/// A connection that only reads, whether or not a process serves the file. What it reads of a folder that is not served is
/// right as long as that stays so, see [`steadily`].
pub fn connect(database: &Path) -> Result<Connection, rusqlite::Error> {
    if is_served(database.parent().unwrap_or(Path::new("."))) {
        return with_locks(database);
    }
    if has_log_beside(database) { with_its_log(database) } else { unchanging(database) }
}

/// The same of a file that a process may serve.
pub(super) fn with_locks(database: &Path) -> Result<Connection, rusqlite::Error> {
    open(Connection::open_with_flags(database, flags()))
}

/// Does what only reads the databases of a folder, and does it again where somebody wrote to them meanwhile.
pub fn steadily<T>(folder: &Path, mut look: impl FnMut() -> T) -> T {
    for _ in 1..LOOKS_MAX {
        // Where it is served SQLite's own locks see to it.
        if is_served(folder) {
            break;
        }
        let before = stamp(folder);
        let seen = look();
        if !is_served(folder) && stamp(folder) == before {
            return seen;
        }
    }
    look()
}

/// A folder of which that cannot be said is taken for one that is.
fn is_served(folder: &Path) -> bool {
    !matches!(served(folder), Ok(Served::No))
}

/// What changes where the ledger is written: of its files, those that are not empty.
fn stamp(folder: &Path) -> Vec<(PathBuf, u64, u64, Option<SystemTime>)> {
    let ledger = folder.join(LEDGER_FILE);
    let files = [""].into_iter().chain(BESIDE_A_DATABASE).map(|suffix| beside(&ledger, suffix));
    let stamp = |path: PathBuf| {
        let found = std::fs::metadata(&path).ok().filter(|found| found.len() > 0)?;
        Some((path, found.ino(), found.len(), found.modified().ok()))
    };
    files.filter_map(stamp).collect()
}

/// The database as it is, with no look at what may stand beside it.
fn unchanging(database: &Path) -> Result<Connection, rusqlite::Error> {
    let mut uri = "file:".to_owned();
    for byte in database.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri.push_str("?immutable=1");
    open(Connection::open_with_flags(uri, flags() | OpenFlags::SQLITE_OPEN_URI))
}

/// The database with the write-ahead log that a process left beside it. The index to that log, which would stand in a file
/// for all who have the database open, is kept in memory by the only one who has.
fn with_its_log(database: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(Connection::open_with_flags_and_vfs(database, flags(), WITHOUT_LOCKS))?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    // The log stays as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn open(connection: Result<Connection, rusqlite::Error>) -> Result<Connection, rusqlite::Error> {
    let connection = connection?;
    connection.busy_timeout(WAIT_MAX)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn has_log_beside(database: &Path) -> bool {
    std::fs::metadata(beside(database, "-wal")).is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lock::FolderLock;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn row(connection: &Connection) -> i64 {
        connection.query_row("SELECT max(a) FROM t", [], |row| row.get(0)).expect("a row")
    }

    /// A database with one row; with the connection that wrote it.
    fn written(path: &Path) -> Connection {
        let written = Connection::open(path).expect("a database");
        written
            .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (7)")
            .expect("a row");
        written
    }

    #[test]
    fn a_file_is_read_whatever_its_name_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a copy?of=100%#ledger é.db");
        drop(written(&path));
        let before = names(folder.path());
        let connection = connect(&path).expect("it opens");
        assert_eq!(row(&connection), 7);
        assert!(connection.execute("DELETE FROM t", []).is_err(), "nothing can be written");
        drop(connection);
        assert_eq!(names(folder.path()), before);
    }

    #[test]
    fn what_stands_in_a_log_that_was_left_is_read_and_the_log_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, left) = (folder.path().join("ledger.db"), folder.path().join("left.db"));
        let work = written(&path);
        work.execute_batch("PRAGMA wal_checkpoint; INSERT INTO t VALUES (8)").expect("a row");
        for suffix in ["", "-wal"] {
            std::fs::copy(beside(&path, suffix), beside(&left, suffix)).expect("a copy");
        }
        drop(work);
        let log = || std::fs::read(beside(&left, "-wal")).expect("the log");
        let (before, was) = (names(folder.path()), log());
        let connection = connect(&left).expect("it opens");
        assert_eq!(row(&connection), 8);
        assert!(connection.execute("DELETE FROM t", []).is_err(), "nothing can be written");
        drop(connection);
        assert!(names(folder.path()) == before && log() == was, "{:?}", names(folder.path()));
    }

    #[test]
    fn a_folder_that_is_served_is_read_with_its_locks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LEDGER_FILE);
        let _lock = FolderLock::take(folder.path()).expect("the lock");
        let work = written(&path);
        let connection = connect(&path).expect("it opens");
        assert_eq!(row(&connection), 7);
        work.execute_batch("INSERT INTO t VALUES (9)").expect("a row");
        assert_eq!(row(&connection), 9, "also what comes later");
    }

    #[test]
    fn what_was_looked_at_while_somebody_wrote_is_looked_at_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LEDGER_FILE);
        drop(written(&path));
        let mut looks = 0;
        let mut looked = |write: &mut dyn FnMut(u32)| {
            looks = 0;
            steadily(folder.path(), || {
                looks += 1;
                write(looks);
            });
            looks
        };
        assert_eq!(looked(&mut |_| {}), 1);
        let insert = |rows: u32| {
            let work = Connection::open(&path).expect("it opens");
            work.execute_batch(&format!("INSERT INTO t VALUES (zeroblob({rows}00000))")).expect("a row");
        };
        assert_eq!(
            looked(&mut |look| if look == 1 {
                insert(look)
            }),
            2
        );
        assert_eq!(looked(&mut |look| insert(look)), 3, "not for ever");
        let mut lock = None;
        assert_eq!(looked(&mut |_| lock = FolderLock::take(folder.path()).ok().or(lock.take())), 2);
        assert_eq!(looked(&mut |_| {}), 1, "where it is served");
    }
}

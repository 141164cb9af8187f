//! Offline reads: they write nothing into a folder, not even the files that SQLite would create next to a database. A folder
//! that nobody serves is read without locks, and read again if a process starts to serve it meanwhile.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use events::private::{BESIDE_A_DATABASE, beside};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::LEDGER_FILE;
use crate::lock::{LockHolder, lock_holder};

/// How long a reader waits for a database that is being recovered.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Maximum number of reads of a folder that somebody writes to meanwhile.
const READS_MAX: u32 = 3;
/// SQLite's file system layer without locks.
const WITHOUT_LOCKS: &str = "unix-none";

/// Opens a read-only connection, whether or not a process serves the file. For a folder that is not served, reads are
/// consistent only as long as that stays so: see [`read_consistently`].
pub fn connect(database: &Path) -> Result<Connection, rusqlite::Error> {
    if is_served(database.parent().unwrap_or(Path::new("."))) {
        return with_locks(database);
    }
    if has_log_beside(database) { with_its_log(database) } else { unchanging(database) }
}

/// Opens a read-only connection to a file that a process may serve.
pub(super) fn with_locks(database: &Path) -> Result<Connection, rusqlite::Error> {
    open(Connection::open_with_flags(database, flags()))
}

/// Runs `read`, which reads the databases of a folder, again if somebody has written to them meanwhile.
pub fn read_consistently<T>(folder: &Path, mut read: impl FnMut() -> T) -> T {
    for _ in 1..READS_MAX {
        // In a served folder, SQLite's locks keep reads consistent.
        if is_served(folder) {
            break;
        }
        let before = stamp(folder);
        let result = read();
        if !is_served(folder) && stamp(folder) == before {
            return result;
        }
    }
    read()
}

/// True also if the lock cannot be checked.
fn is_served(folder: &Path) -> bool {
    !matches!(lock_holder(folder), Ok(LockHolder::Nobody))
}

/// A stamp of the ledger's non-empty files, which changes when the ledger is written.
fn stamp(folder: &Path) -> Vec<(PathBuf, u64, u64, Option<SystemTime>)> {
    let ledger = folder.join(LEDGER_FILE);
    let files = [""].into_iter().chain(BESIDE_A_DATABASE).map(|suffix| beside(&ledger, suffix));
    let stamp = |path: PathBuf| {
        let file = std::fs::metadata(&path).ok().filter(|file| file.len() > 0)?;
        Some((path, file.ino(), file.len(), file.modified().ok()))
    };
    files.filter_map(stamp).collect()
}

/// Opens the database file alone, ignoring any files next to it.
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

/// Opens the database with the write-ahead log that a process has left. With an exclusive lock, SQLite keeps the index of the
/// log in memory instead of in a shared file.
fn with_its_log(database: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(Connection::open_with_flags_and_vfs(database, flags(), WITHOUT_LOCKS))?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    // Leave the write-ahead log unchanged.
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
    use crate::lock::FolderLock;

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

    /// Creates a database with one row, and returns the connection that wrote it.
    fn written(path: &Path) -> Connection {
        let written = Connection::open(path).expect("a database");
        written
            .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (7)")
            .expect("a row");
        written
    }

    #[test]
    fn a_file_with_any_name_is_read_and_no_files_are_created() {
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
    fn a_write_ahead_log_that_was_left_is_read_and_not_changed() {
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
    fn a_served_folder_is_read_with_locks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LEDGER_FILE);
        let _lock = FolderLock::take(folder.path()).expect("the lock");
        let work = written(&path);
        let connection = connect(&path).expect("it opens");
        assert_eq!(row(&connection), 7);
        work.execute_batch("INSERT INTO t VALUES (9)").expect("a row");
        assert_eq!(row(&connection), 9, "later rows too");
    }

    #[test]
    fn a_read_during_which_somebody_wrote_is_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LEDGER_FILE);
        drop(written(&path));
        let mut reads = 0;
        let mut count_reads = |write: &mut dyn FnMut(u32)| {
            reads = 0;
            read_consistently(folder.path(), || {
                reads += 1;
                write(reads);
            });
            reads
        };
        assert_eq!(count_reads(&mut |_| {}), 1);
        let insert = |rows: u32| {
            let work = Connection::open(&path).expect("it opens");
            work.execute_batch(&format!("INSERT INTO t VALUES (zeroblob({rows}00000))")).expect("a row");
        };
        assert_eq!(
            count_reads(&mut |read| if read == 1 {
                insert(read)
            }),
            2
        );
        assert_eq!(count_reads(&mut |read| insert(read)), 3, "not for ever");
        let mut lock = None;
        assert_eq!(count_reads(&mut |_| lock = FolderLock::take(folder.path()).ok().or(lock.take())), 2);
        assert_eq!(count_reads(&mut |_| {}), 1, "in a served folder");
    }
}

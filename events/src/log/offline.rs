//! Looking at a database file without writing anything beside it where that is not possible: a folder of somebody else,
//! a copy on a medium that is read-only.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::read::WAIT_MAX;

/// A connection that only reads, whether or not a process serves the file.
///
/// Errors: also where there is a write-ahead log, and nothing can be written beside it; both have to be copied to where
/// that is possible.
pub fn connect(database: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(Connection::open_with_flags(database, flags()))?;
    // Nothing was read so far: whether it can be is only known now.
    match connection.query_row("PRAGMA schema_version", [], |_| Ok(())) {
        Err(error) if cannot_write_beside(&error) && !has_log_beside(database) => unchanging(database),
        _ => Ok(connection),
    }
}

/// A file that nobody changes is read without the locks that would have to be written beside it.
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

fn cannot_write_beside(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn has_log_beside(database: &Path) -> bool {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanging_file_is_read_whatever_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a copy?of=100%#ledger é.db");
        let written = Connection::open(&path).expect("a database");
        written
            .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (7)")
            .expect("a row");
        drop(written);
        for connection in [connect(&path), unchanging(&path)] {
            let connection = connection.expect("it opens");
            let row: i64 = connection.query_row("SELECT a FROM t", [], |row| row.get(0)).expect("a row");
            assert_eq!(row, 7);
            assert!(connection.execute("DELETE FROM t", []).is_err(), "nothing can be written");
        }
    }
}

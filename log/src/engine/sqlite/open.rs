//! Opening a data folder: lock it, check the write-ahead log, migrate the ledger, load its state.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::private;
use rusqlite::{Connection, DatabaseName, OpenFlags};

use super::checkpoint::{self, Checkpointer};
use super::contexts::SqliteContexts;
use super::migrate::{migrate, other_schema};
use super::state::read_state;
use super::wal;
use super::{LEDGER_FILE, SqliteEngine, open_reader};
use crate::engine::Opened;
use crate::lease::RolePlace;
use crate::lock::FolderLock;
use crate::role_memories::RoleMemories;
use crate::{EngineError, Migrated, OpenError};

/// How long the writer waits for another process's lock on the database before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1000);

/// Opens or creates the ledger of a folder.
pub(crate) fn open(dir: &Path, now: DateTime<Utc>) -> Result<Opened<SqliteEngine>, OpenError> {
    opened(dir, now, Checkpointer::start)
}

/// Opens or creates the ledger of a folder without starting a thread.
pub(crate) fn open_without_threads(dir: &Path, now: DateTime<Utc>) -> Result<Opened<SqliteEngine>, OpenError> {
    opened(dir, now, |_| Ok(Checkpointer::without_thread()))
}

fn opened(
    dir: &Path,
    now: DateTime<Utc>,
    checkpointer: impl FnOnce(&Path) -> std::io::Result<Checkpointer>,
) -> Result<Opened<SqliteEngine>, OpenError> {
    let lock = FolderLock::create_and_take(dir)?;
    let path = dir.join(LEDGER_FILE);
    let connection = connect(&path)?;
    let checkpointer = checkpointer(&path).map_err(OpenError::Thread)?;
    if fs::metadata(private::beside(&path, "-wal")).is_ok_and(|log| log.len() > 0) {
        // Somebody reads, so that it could not be emptied: it may have what the last process erased.
        checkpointer.after_erasure();
    }
    let state = read_state(&connection, now)?;
    Ok(Opened {
        engine: SqliteEngine { checkpointer, connection, contexts: SqliteContexts::default() },
        state,
        open_reader: Arc::new(move |_| open_reader(&path)),
        lock: Some(lock),
        roles: RolePlace::Folder(RoleMemories::in_folder(dir)),
    })
}

/// Migrates a folder's ledger to this version.
pub(crate) fn bring_up_to_date(dir: &Path) -> Result<Migrated, OpenError> {
    let _lock = FolderLock::create_and_take(dir)?;
    let path = dir.join(LEDGER_FILE);
    let migrated = if path.exists() { Migrated::Existing } else { Migrated::New };
    connect(&path).map(|_| migrated)
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    private::prepare_database(path);
    // If it cannot be read, SQLite reports the reason.
    if let Some(damage) = wal::check(path).ok().flatten() {
        return Err(OpenError::Damaged { path: path.to_owned(), damage });
    }
    let database = |error| OpenError::Database { path: path.to_owned(), source: EngineError::from(error) };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(database)?;
    if connection.is_readonly(DatabaseName::Main).map_err(database)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    configure(&connection).map_err(database)?;
    if let Some(source) = other_schema(migrate(&mut connection).map_err(database)?) {
        return Err(OpenError::OtherSchema { path: path.to_owned(), source });
    }
    // After a failed sync, the write-ahead log that a process left may be in the page cache alone, and the next sync would not
    // cover it. Moving it into the database file does.
    checkpoint::finish(&connection);
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // No checkpoint during a commit: see `checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Overwrite deleted rows: personal data, hashes of keys, secrets sealed under a replaced key.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

//! Opening a data folder: one process at a time, migrated, its balances loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, DatabaseName, OpenFlags};

use super::checkpoint::{self, Checkpointer};
use super::migrate::{migrate, other_schema};
use super::state::read_state;
use super::wal::{self, DamagedWal};
use super::{LEDGER_FILE, SqliteEngine, open_reader};
use crate::log::engine::Opened;
use crate::log::lock::{FolderError, FolderLock};
use crate::log::{EngineError, LogError, OtherSchema};
use crate::private;

/// How long the writer waits for somebody else's lock on the database before it answers that it cannot write.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1000);

/// A data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{} was {source}", path.display())]
    OtherSchema { path: PathBuf, source: OtherSchema },
    /// SQLite would open it all the same, and every request would be refused.
    #[error("{} cannot be written by this user", path.display())]
    ReadOnly { path: PathBuf },
    /// SQLite would go on without what cannot be read, as if it had never been.
    #[error("{}-wal: {damage}", path.display())]
    Damaged { path: PathBuf, damage: DamagedWal },
    #[error("open {}: {source}", path.display())]
    Database { path: PathBuf, source: EngineError },
    #[error("load the ledger: {0}")]
    Load(#[from] LogError),
    #[error("start the writer: {0}")]
    Thread(std::io::Error),
}

/// What was brought to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    Existing,
    /// There was no ledger: one was made, without any event.
    New,
}

/// Opens or creates the ledger of a folder.
pub(in crate::log) fn open(dir: &Path, now: DateTime<Utc>) -> Result<Opened<SqliteEngine>, OpenError> {
    opened(dir, now, Checkpointer::start)
}

/// The same without a thread of its own.
pub(in crate::log) fn open_at_rest(dir: &Path, now: DateTime<Utc>) -> Result<Opened<SqliteEngine>, OpenError> {
    opened(dir, now, |_| Ok(Checkpointer::at_rest()))
}

fn opened(
    dir: &Path,
    now: DateTime<Utc>,
    checkpointer: impl FnOnce(&Path) -> std::io::Result<Checkpointer>,
) -> Result<Opened<SqliteEngine>, OpenError> {
    create_folder(dir)?;
    let lock = FolderLock::take(dir)?;
    let path = dir.join(LEDGER_FILE);
    let connection = connect(&path)?;
    let checkpointer = checkpointer(&path).map_err(OpenError::Thread)?;
    let state = read_state(&connection, now)?;
    Ok(Opened {
        engine: SqliteEngine { checkpointer, connection },
        state,
        open_reader: Arc::new(move || open_reader(&path)),
        lock,
    })
}

/// Brings a folder's ledger to this version.
pub(in crate::log) fn bring_up_to_date(dir: &Path) -> Result<Migrated, OpenError> {
    create_folder(dir)?;
    let _lock = FolderLock::take(dir)?;
    let path = dir.join(LEDGER_FILE);
    let migrated = if path.exists() { Migrated::Existing } else { Migrated::New };
    connect(&path).map(|_| migrated)
}

fn create_folder(dir: &Path) -> Result<(), OpenError> {
    private::create_folder(dir).map_err(|source| FolderError::Unusable { path: dir.to_owned(), source }.into())
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    private::prepare_database(path);
    // One that cannot be read is for SQLite to say.
    if let Some(damage) = wal::look(path).ok().flatten() {
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
    // What a process left in the write-ahead log may be in the machine's memory alone, where a sync had failed: the next
    // one would not cover it. Written into the database file it is.
    checkpoint::finish(&connection);
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit is on the disk when it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // See `checkpoint`: not in the middle of somebody's commit.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // What is deleted is overwritten: people who were erased, hashes of keys, what was sealed under a key that was replaced.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

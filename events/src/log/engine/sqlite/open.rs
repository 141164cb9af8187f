//! Opening a data folder: one process at a time, migrated, its balances loaded, its writer running.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rusqlite::{Connection, DatabaseName, OpenFlags};

use super::checkpoint::{self, Checkpointer};
use super::migrate::{OtherSchema, migrate};
use super::state::read_state;
use super::wal::{self, DamagedWal};
use super::{Readers, SqliteEngine};
use crate::log::jobs::Message;
use crate::log::lock::FolderLock;
use crate::log::open_hold::{Ender, Unattended};
use crate::log::writer::{Figures, Writer, channels};
use crate::log::{EngineError, Log, LogError, LogInner, LogOptions, QUEUE_LEN_MAX, Queue};
use crate::private;

/// The system of record.
pub const LEDGER_FILE: &str = "ledger.db";
/// How long the writer waits for somebody else's lock on the database before it answers that it cannot write.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1000);

/// A data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("create the data folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "another process is using the data folder {}; `ledgerway status --data {}` shows where it listens",
        path.display(),
        path.display()
    )]
    InUse { path: PathBuf },
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

impl Log {
    /// Opens or creates the log in a folder and starts its writer. Blocking.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let Parts { mut shared, writer, queue, lock } = assemble(dir, options, Checkpointer::start)?;
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || {
                writer.run(&queue);
                drop(lock);
            })
            .map_err(OpenError::Thread)?;
        shared.writer = Mutex::new(Some(thread));
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Brings a folder's ledger to this version without serving it. Blocking.
    pub fn migrate(dir: &Path) -> Result<Migrated, OpenError> {
        create_folder(dir)?;
        let _lock = FolderLock::take(dir)?;
        let path = dir.join(LEDGER_FILE);
        let migrated = if path.exists() { Migrated::Existing } else { Migrated::New };
        connect(&path).map(|_| migrated)
    }
}

/// What was brought to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    Existing,
    /// There was no ledger: one was made, without any event.
    New,
}

/// A log whose writer does not run yet.
pub(super) struct Parts {
    pub(super) shared: LogInner,
    pub(super) writer: Writer<SqliteEngine>,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) lock: FolderLock,
}

pub(super) fn assemble(
    dir: &Path,
    options: LogOptions,
    checkpointer: impl FnOnce(&Path) -> std::io::Result<Checkpointer>,
) -> Result<Parts, OpenError> {
    create_folder(dir)?;
    let lock = FolderLock::take(dir)?;
    let path = dir.join(LEDGER_FILE);
    let connection = connect(&path)?;
    let (jobs, queue) = mpsc::sync_channel(QUEUE_LEN_MAX);
    let (publisher, published) = channels();
    let figures = Arc::new(Figures::default());
    let jobs = Queue { jobs, figures: Arc::clone(&figures) };
    let (hold_ttl, unknown_usage) = (options.hold_ttl, options.unknown_usage);
    let checkpointer = checkpointer(&path).map_err(OpenError::Thread)?;
    let state = read_state(&connection, options.clock.now())?;
    let writer = Writer::new(
        SqliteEngine { checkpointer, connection },
        state,
        options,
        Ender { jobs: jobs.clone(), unattended: Unattended::default() },
        publisher,
        Arc::clone(&figures),
    );
    let shared = LogInner {
        jobs,
        hold_ttl,
        unknown_usage,
        published,
        readers: Arc::new(Readers::new(path)),
        figures,
        stopped: AtomicBool::new(false),
        writer: Mutex::new(None),
    };
    Ok(Parts { shared, writer, queue, lock })
}

fn create_folder(dir: &Path) -> Result<(), OpenError> {
    private::create_folder(dir).map_err(|source| OpenError::Folder { path: dir.to_owned(), source })
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
    if let Some(source) = OtherSchema::of(migrate(&mut connection).map_err(database)?) {
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

//! `DIR/views.db`: rows and checkpoints. Disposable: a file that cannot be read, that another version made or that
//! belongs to another log is deleted and begun anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::event::Recorded;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::View;
use super::projector::{ProjectionError, Projector, is_storage_failure};

/// The file in the data folder.
pub const VIEWS_FILE: &str = "views.db";

const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0001_projections.sql");
pub(super) const HAS_CHECKPOINTS: &str = include_str!("checkpoint/exists.sql");
const OBJECTS: &str = include_str!("checkpoint/objects.sql");
const READ: &str = include_str!("checkpoint/read.sql");
const BEGIN: &str = include_str!("checkpoint/begin.sql");
const ADVANCE: &str = include_str!("checkpoint/advance.sql");
const STOP: &str = include_str!("checkpoint/stop.sql");
const RESUME: &str = include_str!("checkpoint/resume.sql");
/// Prepared statements that are kept: more than all projectors have.
const STATEMENTS_MAX: usize = 64;
/// Pages of the write-ahead log between checkpoints: 16 MiB. A checkpoint syncs, and the ledger waits on the same disk.
const CHECKPOINT_PAGES: u32 = 4096;
/// Pages that the writer keeps, as SQLite counts: negative is KiB. What a transaction changes fits, and is written once.
const CACHE_KIB: i64 = -16_384;

/// The views' file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("views database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("delete {}: {source}", path.display())]
    Delete { path: PathBuf, source: std::io::Error },
}

impl StoreError {
    /// Whether the file is damaged, so that only a new one helps.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => {
                let code = error.sqlite_error_code();
                matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            Self::Delete { .. } => false,
        }
    }
}

/// How far a view has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub version: u32,
    pub position: u64,
    /// Of the event at `position`, in microseconds since 1970; 0 at position 0.
    pub recorded_at_micros: i64,
    /// Why the view has stopped; `None` while it follows the log.
    pub error: Option<String>,
}

/// The write connection, with the projectors that write through it.
pub struct Store {
    connection: Connection,
    projectors: Vec<Box<dyn Projector>>,
}

impl Store {
    /// Opens what is there if it is sound and of these projectors' versions, else begins anew. `belongs` says whether
    /// a checkpoint is one of this log's.
    pub fn open(
        dir: &Path,
        projectors: Vec<Box<dyn Projector>>,
        belongs: impl Fn(&Checkpoint) -> bool,
    ) -> Result<Self, StoreError> {
        let path = dir.join(VIEWS_FILE);
        match reopen(&path, &projectors, belongs) {
            Ok(Some(connection)) => return Ok(Self { connection, projectors }),
            Ok(None) => {}
            Err(error) if error.is_damage() => tracing::error!(%error, "the views' file is damaged"),
            Err(error) => return Err(error),
        }
        let connection = create(&path, &projectors)?;
        Ok(Self { connection, projectors })
    }

    /// Deletes the file and begins anew. Where that fails there is nothing to work with until it succeeds.
    pub fn recreate(&mut self, dir: &Path) -> Result<(), StoreError> {
        // In the place of the old one, which has to be closed first.
        self.connection = Connection::open_in_memory()?;
        self.connection = create(&dir.join(VIEWS_FILE), &self.projectors)?;
        Ok(())
    }

    pub fn views(&self) -> Vec<View> {
        self.projectors.iter().map(|projector| projector.view()).collect()
    }

    pub fn checkpoint(&self, view: View) -> Result<Checkpoint, StoreError> {
        Ok(read_checkpoint(&self.connection, view)?.unwrap_or_default())
    }

    /// Lets views that had stopped try again: a new version of the program may know better.
    pub fn resume(&self) -> Result<(), StoreError> {
        self.connection.execute(RESUME, [])?;
        Ok(())
    }

    /// Applies events in order to every view that has not seen them, in one transaction with the checkpoints. A view
    /// that cannot take one stops before it, alone.
    /// Errors: the database failed, and nothing of the batch is written.
    pub fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        if self.apply_together(events)? {
            return Ok(());
        }
        self.apply_apart(events)
    }

    /// Without a savepoint a view, which copies every page that is touched after it; whether all views could take all.
    fn apply_together(&mut self, events: &[Arc<Recorded>]) -> Result<bool, StoreError> {
        let Some(last) = events.last() else { return Ok(true) };
        let transaction = self.connection.transaction()?;
        for projector in &mut self.projectors {
            let checkpoint = read_checkpoint(&transaction, projector.view())?.unwrap_or_default();
            let unseen = unseen(events, &checkpoint);
            if unseen.is_empty() {
                continue;
            }
            match projector.apply(&transaction, unseen) {
                Ok(()) => {}
                Err(ProjectionError::Database(error)) if is_storage_failure(&error) => return Err(error.into()),
                Err(_poison) => return Ok(transaction.rollback().map(|()| false)?),
            }
        }
        advance(&transaction, last)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Each view in a savepoint of its own, and one event after the other where a view cannot take all, so that what a
    /// view shows does not depend on how the log was cut into batches.
    fn apply_apart(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut transaction = self.connection.transaction()?;
        for projector in &mut self.projectors {
            let checkpoint = read_checkpoint(&transaction, projector.view())?.unwrap_or_default();
            let unseen = unseen(events, &checkpoint);
            if !unseen.is_empty() {
                apply_to(&mut transaction, projector.as_mut(), unseen, &checkpoint)?;
            }
        }
        advance(&transaction, last)?;
        transaction.commit()?;
        Ok(())
    }
}

/// None for a view that has stopped.
fn unseen<'a>(events: &'a [Arc<Recorded>], checkpoint: &Checkpoint) -> &'a [Arc<Recorded>] {
    if checkpoint.error.is_some() {
        return &[];
    }
    let seen = events.partition_point(|recorded| recorded.position <= checkpoint.position);
    events.get(seen..).unwrap_or_default()
}

fn advance(transaction: &Transaction<'_>, last: &Recorded) -> Result<(), rusqlite::Error> {
    let recorded_at = last.recorded_at.timestamp_micros();
    transaction.prepare_cached(ADVANCE)?.execute(params![last.position, recorded_at]).map(drop)
}

/// The whole batch at once, else one by one.
fn apply_to(
    transaction: &mut Transaction<'_>,
    projector: &mut dyn Projector,
    events: &[Arc<Recorded>],
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    if attempt(transaction, projector, events)?.is_ok() {
        return Ok(());
    }
    let mut before = (checkpoint.position, checkpoint.recorded_at_micros);
    for recorded in events {
        if let Err(error) = attempt(transaction, projector, std::slice::from_ref(recorded))? {
            return stop(transaction, projector.view(), before, recorded, &error);
        }
        before = (recorded.position, recorded.recorded_at.timestamp_micros());
    }
    Ok(())
}

/// The inner error is the events' fault, the outer one the database's.
fn attempt(
    transaction: &mut Transaction<'_>,
    projector: &mut dyn Projector,
    events: &[Arc<Recorded>],
) -> Result<Result<(), ProjectionError>, rusqlite::Error> {
    let savepoint = transaction.savepoint()?;
    match projector.apply(&savepoint, events) {
        Ok(()) => savepoint.commit().map(Ok),
        Err(ProjectionError::Database(error)) if is_storage_failure(&error) => Err(error),
        Err(poison) => savepoint.finish().map(|()| Err(poison)),
    }
}

fn stop(
    transaction: &Transaction<'_>,
    view: View,
    (position, recorded_at): (u64, i64),
    recorded: &Recorded,
    error: &ProjectionError,
) -> Result<(), StoreError> {
    let why = format!("{}.v{} at {}: {error}", recorded.event.name(), recorded.event.version(), recorded.position);
    tracing::error!(view = view.as_str(), position = recorded.position, %error, "a view cannot take an event and stops");
    transaction.prepare_cached(STOP)?.execute(params![view.as_str(), position, recorded_at, why])?;
    Ok(())
}

/// How far a view has got, read on any connection to the file; `None` for a view that the file does not have.
pub fn read_checkpoint(connection: &Connection, view: View) -> Result<Option<Checkpoint>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(READ)?;
    let checkpoint = statement.query_row([view.as_str()], |row| {
        Ok(Checkpoint {
            version: row.get(0)?,
            position: row.get(1)?,
            recorded_at_micros: row.get(2)?,
            error: row.get(3)?,
        })
    });
    checkpoint.optional()
}

/// `None` where the file is absent, of other versions or of another log.
fn reopen(
    path: &Path,
    projectors: &[Box<dyn Projector>],
    belongs: impl Fn(&Checkpoint) -> bool,
) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = connect(path)?;
    let tables: u32 = connection.query_row(HAS_CHECKPOINTS, [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    if !has_the_objects_of(&connection, projectors)? {
        tracing::warn!("a table or an index of the views is missing or of another form");
        return Ok(None);
    }
    for projector in projectors {
        let checkpoint = read_checkpoint(&connection, projector.view())?;
        let usable = |found: &Checkpoint| found.version == projector.version() && belongs(found);
        if !checkpoint.as_ref().is_some_and(usable) {
            tracing::warn!(view = projector.view().as_str(), "the views are of another version or another log");
            return Ok(None);
        }
    }
    Ok(Some(connection))
}

fn create(path: &Path, projectors: &[Box<dyn Projector>]) -> Result<Connection, StoreError> {
    delete(path)?;
    let mut connection = connect(path)?;
    let transaction = connection.transaction()?;
    lay_out(&transaction, projectors)?;
    for projector in projectors {
        transaction.execute(BEGIN, params![projector.view().as_str(), projector.version()])?;
    }
    transaction.commit()?;
    Ok(connection)
}

pub(super) fn lay_out(connection: &Connection, projectors: &[Box<dyn Projector>]) -> Result<(), rusqlite::Error> {
    connection.execute_batch(SCHEMA)?;
    projectors.iter().try_for_each(|projector| connection.execute_batch(projector.schema()))
}

/// Whether everything that a new file would have is there, as it would be. What somebody added is none of ours.
pub(super) fn has_the_objects_of(
    connection: &Connection,
    projectors: &[Box<dyn Projector>],
) -> Result<bool, rusqlite::Error> {
    let fresh = Connection::open_in_memory()?;
    lay_out(&fresh, projectors)?;
    Ok(objects(&fresh)?.is_subset(&objects(connection)?))
}

/// Tables and indexes, each as the text that made it.
fn objects(connection: &Connection) -> Result<BTreeSet<String>, rusqlite::Error> {
    connection.prepare(OBJECTS)?.query_map([], |row| row.get(0))?.collect()
}

/// With what SQLite keeps beside it.
fn delete(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Delete { path, source }),
        }
    }
    Ok(())
}

/// `NORMAL` loses the last transactions with the machine's power, which the log gives back, but damages nothing.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

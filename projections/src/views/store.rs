//! `DIR/views.db`: rows and checkpoints. Disposable: a file that cannot be read or that belongs to another log is deleted
//! and begun anew. A view that another version made, or that lacks a table, is set aside: its rows stay as they are until
//! others take their place, see [`super::rebuild`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::event::Recorded;
use events::private;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::View;
use super::exact;
use super::projector::{ProjectionError, Projector, is_storage_failure};

/// The file in the data folder.
pub const VIEWS_FILE: &str = "views.db";
/// Views that are being built beside the ones in use.
pub const NEXT_FILE: &str = "views-next.db";

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

/// What the rows of a view are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// They follow the log.
    Current,
    /// Another version made them, with the same tables: they can be read, and do not follow the log any more.
    Older,
    /// There are none that this version could read.
    Unreadable,
}

/// A view of the file.
pub(super) struct Kept {
    pub(super) projector: Box<dyn Projector>,
    pub(super) fitness: Fitness,
}

/// The write connection, with the projectors that write through it.
pub struct Store {
    pub(super) connection: Connection,
    pub(super) kept: Vec<Kept>,
}

impl Store {
    /// Opens what is there if it is sound, else begins anew. `belongs` says whether a checkpoint is one of this log's.
    pub fn open(
        dir: &Path,
        projectors: Vec<Box<dyn Projector>>,
        belongs: impl Fn(&Checkpoint) -> bool,
    ) -> Result<Self, StoreError> {
        let path = dir.join(VIEWS_FILE);
        // What a rebuild left that did not come to its end.
        delete(&dir.join(NEXT_FILE))?;
        match reopen(&path, &projectors, belongs) {
            Ok(Some((connection, fitness))) => {
                let kept = projectors.into_iter().zip(fitness);
                let kept = kept.map(|(projector, fitness)| Kept { projector, fitness }).collect();
                return Ok(Self { connection, kept });
            }
            Ok(None) => {}
            Err(error) if error.is_damage() => tracing::error!(%error, "the views' file is damaged"),
            Err(error) => return Err(error),
        }
        let kept = all_current(projectors);
        Ok(Self { connection: create(connect, &path, &kept)?, kept })
    }

    /// Begins these views in a file beside the one in use.
    pub fn beside(dir: &Path, projectors: Vec<Box<dyn Projector>>) -> Result<Self, StoreError> {
        let kept = all_current(projectors);
        Ok(Self { connection: create(connect_next, &dir.join(NEXT_FILE), &kept)?, kept })
    }

    /// Deletes the file and begins anew. Where that fails there is nothing to work with until it succeeds.
    pub fn recreate(&mut self, dir: &Path) -> Result<(), StoreError> {
        // In the place of the old one, which has to be closed first.
        self.connection = Connection::open_in_memory()?;
        self.kept.iter_mut().for_each(|kept| kept.fitness = Fitness::Current);
        self.connection = create(connect, &dir.join(VIEWS_FILE), &self.kept)?;
        Ok(())
    }

    pub fn views(&self) -> Vec<View> {
        self.kept.iter().map(|kept| kept.projector.view()).collect()
    }

    pub fn fitness(&self, view: View) -> Fitness {
        let kept = self.kept.iter().find(|kept| kept.projector.view() == view);
        kept.map_or(Fitness::Unreadable, |kept| kept.fitness)
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
        for projector in following(&mut self.kept) {
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
            advance(&transaction, projector.view(), last)?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Each view in a savepoint of its own, and one event after the other where a view cannot take all, so that what a
    /// view shows does not depend on how the log was cut into batches.
    fn apply_apart(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut transaction = self.connection.transaction()?;
        for projector in following(&mut self.kept) {
            let checkpoint = read_checkpoint(&transaction, projector.view())?.unwrap_or_default();
            let unseen = unseen(events, &checkpoint);
            if !unseen.is_empty() {
                apply_to(&mut transaction, projector.as_mut(), unseen, &checkpoint)?;
                advance(&transaction, projector.view(), last)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn all_current(projectors: Vec<Box<dyn Projector>>) -> Vec<Kept> {
    projectors.into_iter().map(|projector| Kept { projector, fitness: Fitness::Current }).collect()
}

fn following(kept: &mut [Kept]) -> impl Iterator<Item = &mut Box<dyn Projector>> {
    kept.iter_mut().filter(|kept| kept.fitness == Fitness::Current).map(|kept| &mut kept.projector)
}

/// None for a view that has stopped.
fn unseen<'a>(events: &'a [Arc<Recorded>], checkpoint: &Checkpoint) -> &'a [Arc<Recorded>] {
    if checkpoint.error.is_some() {
        return &[];
    }
    let seen = events.partition_point(|recorded| recorded.position <= checkpoint.position);
    events.get(seen..).unwrap_or_default()
}

fn advance(transaction: &Transaction<'_>, view: View, last: &Recorded) -> Result<(), rusqlite::Error> {
    let recorded_at = last.recorded_at.timestamp_micros();
    transaction.prepare_cached(ADVANCE)?.execute(params![view.as_str(), last.position, recorded_at]).map(drop)
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

/// With what each view's rows are good for; `None` where the file is absent or of another log.
fn reopen(
    path: &Path,
    projectors: &[Box<dyn Projector>],
    belongs: impl Fn(&Checkpoint) -> bool,
) -> Result<Option<(Connection, Vec<Fitness>)>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = connect(path)?;
    let found = objects(&connection)?;
    if !objects_of(&[SCHEMA])?.is_subset(&found) {
        return Ok(None);
    }
    let mut fitness = Vec::with_capacity(projectors.len());
    for projector in projectors {
        let checkpoint = read_checkpoint(&connection, projector.view())?;
        if checkpoint.as_ref().is_some_and(|checkpoint| !belongs(checkpoint)) {
            tracing::warn!(view = projector.view().as_str(), "the views are of another log");
            return Ok(None);
        }
        fitness.push(match checkpoint {
            Some(_) if !objects_of(&[projector.schema()])?.is_subset(&found) => Fitness::Unreadable,
            Some(checkpoint) if checkpoint.version == projector.version() => Fitness::Current,
            Some(_) => Fitness::Older,
            None => Fitness::Unreadable,
        });
    }
    Ok(Some((connection, fitness)))
}

fn create(
    connect: fn(&Path) -> Result<Connection, StoreError>,
    path: &Path,
    kept: &[Kept],
) -> Result<Connection, StoreError> {
    delete(path)?;
    let mut connection = connect(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    for Kept { projector, .. } in kept {
        transaction.execute_batch(projector.schema())?;
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
    let schemas: Vec<&str> =
        std::iter::once(SCHEMA).chain(projectors.iter().map(|projector| projector.schema())).collect();
    Ok(objects_of(&schemas)?.is_subset(&objects(connection)?))
}

fn objects_of(schemas: &[&str]) -> Result<BTreeSet<String>, rusqlite::Error> {
    let fresh = Connection::open_in_memory()?;
    schemas.iter().try_for_each(|schema| fresh.execute_batch(schema))?;
    objects(&fresh)
}

/// Tables and indexes, each as the text that made it.
fn objects(connection: &Connection) -> Result<BTreeSet<String>, rusqlite::Error> {
    connection.prepare(OBJECTS)?.query_map([], |row| row.get(0))?.collect()
}

/// With what SQLite keeps beside it.
pub(super) fn delete(path: &Path) -> Result<(), StoreError> {
    for suffix in [""].into_iter().chain(private::BESIDE_A_DATABASE) {
        let path = private::beside(path, suffix);
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
    let connection = open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

/// Nobody reads it before it is whole, and after a crash it is thrown away: nothing has to be synced.
fn connect_next(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    connection.pragma_update(None, "journal_mode", "memory")?;
    connection.pragma_update(None, "synchronous", "off")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    private::prepare_database(path);
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    exact::register(&connection)?;
    Ok(connection)
}

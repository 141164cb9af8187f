//! The store of the views, `DIR/views.db`: rows and checkpoints. It guarantees that a batch of rows and its checkpoints are
//! one transaction, and that events which were already applied change nothing when they come again.
//!
//! The file is disposable, so nothing is repaired: a damaged file, or one of another ledger, is deleted and created again. A
//! view that another version wrote, or that lacks a table, keeps its rows as they are until a rebuild replaces them, see
//! [`super::rebuild`]; there are no migrations in place. Analysts read the file with SQLite, through [`super::sql_views`]: the
//! tables' names begin with `rows_`, so that these can have the plain ones.
//!
//! All views share the transaction of a batch. If one of them cannot apply an event, the batch is rolled back and repeated
//! with a savepoint for each view, and event by event for the one that failed, so that it alone stops, exactly before that
//! event. Savepoints from the start were rejected: each copies every page that is touched after it. `synchronous = NORMAL`
//! is enough, since the log gives back whatever a power failure takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use events::event::Recorded;
use events::private;
use events_log::{LogError, Reader, offline};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::View;
use super::exact;
use super::projector::{ProjectionError, Projector, is_storage_failure};
use super::sql_views;
use super::touched::{CopiedPosition, Tracker};

/// The views' file in the data folder.
pub const VIEWS_FILE: &str = "views.db";
/// The file in which a rebuild writes new rows.
pub const NEXT_FILE: &str = "views-next.db";

const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0001_projections.sql");
pub(super) const HAS_CHECKPOINTS: &str = include_str!("checkpoint/exists.sql");
const OBJECTS: &str = include_str!("checkpoint/objects.sql");
const READ: &str = include_str!("checkpoint/read.sql");
const BEGIN: &str = include_str!("checkpoint/begin.sql");
const ADVANCE: &str = include_str!("checkpoint/advance.sql");
const STOP: &str = include_str!("checkpoint/stop.sql");
const RESUME: &str = include_str!("checkpoint/resume.sql");
/// Prepared statements in the cache: more than all projectors have.
const STATEMENTS_MAX: usize = 64;
/// Pages of SQLite's write-ahead log between its checkpoints: 16 MiB. A checkpoint syncs a disk on which the ledger waits.
const CHECKPOINT_PAGES: u32 = 4096;
/// The longest write-ahead log to which more is added, unless the file is longer: for as long as somebody reads in a transaction,
/// it cannot be emptied, and it lies on the disk of the ledger. API queries end after ten seconds, those of analysts when they like.
const WAL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The size to which an empty write-ahead log is cut, to be written again.
const WAL_BYTES_KEPT: u64 = 64 * 1024 * 1024;
/// The time for which a transaction waits for another one of this file.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// The time for which readers are waited for before the write-ahead log is emptied.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_millis(200);
/// Batches between two looks at the length of the write-ahead log.
const WAL_CHECK_BATCHES: u32 = 16;

/// How SQLite writes a file.
struct ConnectionSettings {
    journal_mode: &'static str,
    synchronous: &'static str,
    /// The page cache. A transaction that changes more pages than fit writes some of them twice.
    cache_kib: i64,
}

/// With `NORMAL` a power failure may lose the last transactions, which the log gives back, but damages nothing.
const IN_USE: ConnectionSettings = ConnectionSettings { journal_mode: "wal", synchronous: "normal", cache_kib: 4096 };
/// A file that is read only once complete, and is of no use after a crash: nothing has to be synced meanwhile.
const SCRATCH: ConnectionSettings =
    ConnectionSettings { journal_mode: "memory", synchronous: "off", cache_kib: 16_384 };

/// The views' file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("views database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("delete {}: {source}", path.display())]
    Delete { path: PathBuf, source: std::io::Error },
    /// Whether the file is of this log is not known, so it is left as it is.
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error(
        "views.db-wal has {mib} MiB and cannot be emptied while somebody reads views.db in a transaction: end that transaction"
    )]
    WalHeld { mib: u64 },
}

impl StoreError {
    /// Whether the file is damaged and has to be recreated.
    pub fn is_damage(&self) -> bool {
        let Self::Database(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// The progress of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub version: u32,
    pub position: u64,
    /// When the event at `position` was recorded, in microseconds since 1970; 0 at position 0.
    pub recorded_at_micros: i64,
    /// Why the view stopped; `None` while it follows the log.
    pub error: Option<String>,
}

impl Checkpoint {
    /// Whether the log has the event at this checkpoint. It does not after it was restored from an older copy.
    pub fn is_of(&self, log: &dyn Reader) -> Result<bool, LogError> {
        let Some(before) = self.position.checked_sub(1) else { return Ok(true) };
        let events = log.after(before, 1)?;
        Ok(events.first().is_some_and(|recorded| recorded.recorded_at.timestamp_micros() == self.recorded_at_micros))
    }
}

/// Whether this version can use the stored rows of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// They follow the log.
    Current,
    /// Another version wrote them with the same tables: they can be read but no longer follow the log.
    Older,
    /// This version cannot read them, or there are none.
    Unreadable,
}

/// A view in the file.
pub(super) struct StoredView {
    pub(super) projector: Box<dyn Projector>,
    pub(super) compatibility: Compatibility,
}

/// The write connection and the projectors that write through it.
pub struct Store {
    pub(super) dir: PathBuf,
    pub(super) connection: Connection,
    pub(super) stored: Vec<StoredView>,
    /// Notes which rows change, if they are copied.
    pub(super) tracker: Option<Tracker>,
    pub(super) wal: WalBound,
}

/// Keeps the write-ahead log from growing without end.
pub(super) struct WalBound {
    pub(super) bytes_max: u64,
    /// Batches until the next look at its length.
    batches: u32,
}

impl WalBound {
    /// Looks at it once in so many batches.
    fn check(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if let Some(left) = self.batches.checked_sub(1) {
            self.batches = left;
            return Ok(());
        }
        self.look(connection)?;
        self.batches = WAL_CHECK_BATCHES;
        Ok(())
    }

    /// Errors: it is too long, and somebody keeps it from being emptied.
    pub(super) fn look(&self, connection: &Connection) -> Result<(), StoreError> {
        let Some(path) = connection.path().map(Path::new) else { return Ok(()) };
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let wal = len(&private::beside(path, "-wal"));
        if wal <= self.bytes_max.max(len(path)) {
            return Ok(());
        }
        // Not as long as for a transaction: this is tried again, and a stop of the gateway waits for it.
        connection.busy_timeout(CHECKPOINT_WAIT_MAX)?;
        let is_held = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        connection.busy_timeout(BUSY_WAIT_MAX)?;
        if is_held? { Err(StoreError::WalHeld { mib: wal / (1024 * 1024) }) } else { Ok(()) }
    }
}

impl Store {
    /// Opens the views of a folder, or recreates them if they are not of this log.
    /// Errors: also if the log cannot be read, since the views may be of it.
    pub fn of_log(dir: &Path, log: &dyn Reader) -> Result<Self, StoreError> {
        Self::open(dir, View::projectors(View::ALL), |checkpoint| checkpoint.is_of(log))
    }

    /// Opens the file if it is sound, otherwise recreates it. `belongs` says whether a checkpoint is of this log.
    pub fn open(
        dir: &Path,
        projectors: Vec<Box<dyn Projector>>,
        belongs: impl Fn(&Checkpoint) -> Result<bool, LogError>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(VIEWS_FILE);
        // An unfinished rebuild may have left this file.
        delete(&dir.join(NEXT_FILE))?;
        match reopen(&path, &IN_USE, &projectors, belongs) {
            Ok(Some((connection, compatibility))) => {
                return Ok(Self::new(dir, connection, stored_views(projectors, compatibility)));
            }
            Ok(None) => {}
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "the views' file is damaged: recreating it");
            }
            Err(error) => return Err(error),
        }
        let stored = all_current(projectors);
        Ok(Self::new(dir, create(&path, &IN_USE, &stored)?, stored))
    }

    fn new(dir: &Path, connection: Connection, stored: Vec<StoredView>) -> Self {
        let wal = WalBound { bytes_max: WAL_BYTES_MAX, batches: 0 };
        Self { dir: dir.to_owned(), connection, stored, tracker: None, wal }
    }

    /// Creates the file in which these views are rebuilt, beside the one in use.
    pub fn create_next(dir: &Path, projectors: Vec<Box<dyn Projector>>) -> Result<Self, StoreError> {
        Self::create_scratch(&dir.join(NEXT_FILE), projectors)
    }

    /// Creates a file for views that are built in one go, in place of one of this name.
    pub(super) fn create_scratch(path: &Path, projectors: Vec<Box<dyn Projector>>) -> Result<Self, StoreError> {
        let stored = all_current(projectors);
        Ok(Self::new(folder_of(path), create(path, &SCRATCH, &stored)?, stored))
    }

    /// Opens a copy of a file that [`Store::create_scratch`] began, to go on with it. `None` if this version cannot go on with all of
    /// its views.
    pub(super) fn open_scratch(path: &Path, projectors: Vec<Box<dyn Projector>>) -> Result<Option<Self>, StoreError> {
        let Some((connection, compatibility)) = reopen(path, &SCRATCH, &projectors, |_| Ok(true))? else {
            return Ok(None);
        };
        let is_current = compatibility.iter().all(|of_view| *of_view == Compatibility::Current);
        Ok(is_current.then(|| Self::new(folder_of(path), connection, stored_views(projectors, compatibility))))
    }

    /// Deletes the file and creates an empty one. If that fails, the store is unusable until a later call succeeds.
    pub fn recreate(&mut self) -> Result<(), StoreError> {
        // A placeholder: the old connection has to be closed before its file is deleted.
        self.connection = Connection::open_in_memory()?;
        self.stored.iter_mut().for_each(|stored| stored.compatibility = Compatibility::Current);
        self.connection = create(&self.dir.join(VIEWS_FILE), &IN_USE, &self.stored)?;
        self.resume_tracking()
    }

    pub fn views(&self) -> Vec<View> {
        self.stored.iter().map(|stored| stored.projector.view()).collect()
    }

    pub fn compatibility(&self, view: View) -> Compatibility {
        let stored = self.stored.iter().find(|stored| stored.projector.view() == view);
        stored.map_or(Compatibility::Unreadable, |stored| stored.compatibility)
    }

    pub fn checkpoint(&self, view: View) -> Result<Checkpoint, StoreError> {
        Ok(read_checkpoint(&self.connection, view)?.unwrap_or_default())
    }

    /// Lets stopped views try again: a new version of the program may apply the event that stopped them.
    pub fn resume(&self) -> Result<(), StoreError> {
        self.connection.execute(RESUME, [])?;
        Ok(())
    }

    /// Applies events in order to every view that has not seen them, in one transaction with the checkpoints. A view
    /// that cannot apply an event stops before it; the others go on.
    /// Errors: the database failed, and nothing of the batch is written.
    pub fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        if self.apply_batch(events)? {
            return Ok(());
        }
        self.apply_view_by_view(events)
    }

    /// Applies a batch without savepoints. Returns false, with nothing written, if a view could not apply it.
    fn apply_batch(&mut self, events: &[Arc<Recorded>]) -> Result<bool, StoreError> {
        let Some(last) = events.last() else { return Ok(true) };
        self.wal.check(&self.connection)?;
        let transaction = begin_batch(&mut self.connection, self.tracker.as_ref(), last)?;
        for projector in current_projectors(&mut self.stored) {
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
        commit_batch(transaction, self.tracker.as_mut(), last)?;
        Ok(true)
    }

    /// Applies a batch with a savepoint for each view, and event by event to a view that cannot apply all of it, so that
    /// its rows do not depend on how the log was cut into batches.
    fn apply_view_by_view(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut transaction = begin_batch(&mut self.connection, self.tracker.as_ref(), last)?;
        for projector in current_projectors(&mut self.stored) {
            let checkpoint = read_checkpoint(&transaction, projector.view())?.unwrap_or_default();
            let unseen = unseen(events, &checkpoint);
            if !unseen.is_empty() {
                apply_to(&mut transaction, projector.as_mut(), unseen, &checkpoint)?;
                advance(&transaction, projector.view(), last)?;
            }
        }
        commit_batch(transaction, self.tracker.as_mut(), last)?;
        Ok(())
    }
}

impl Store {
    /// Notes changes from now on if all were noted before; otherwise from [`Store::begin_tracking`] on.
    pub(super) fn track(&mut self, copied: CopiedPosition) -> Result<(), StoreError> {
        let mut tracker = Tracker::new(copied);
        tracker.resume(&self.connection, &self.current_views())?;
        self.tracker = Some(tracker);
        Ok(())
    }

    /// The same, after the file was created anew.
    pub(super) fn resume_tracking(&mut self) -> Result<(), StoreError> {
        let current = self.current_views();
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        Ok(tracker.resume(&self.connection, &current)?)
    }

    /// The views have caught up with the log, up to this position.
    pub(super) fn begin_tracking(&mut self, position: u64) -> Result<(), StoreError> {
        let current = self.current_views();
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        Ok(tracker.begin(&mut self.connection, &current, position)?)
    }

    fn current_views(&self) -> Vec<View> {
        self.views().into_iter().filter(|view| self.compatibility(*view) == Compatibility::Current).collect()
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Begins the transaction of a batch.
fn begin_batch<'c>(
    connection: &'c mut Connection,
    tracker: Option<&Tracker>,
    last: &Recorded,
) -> Result<Transaction<'c>, rusqlite::Error> {
    if let Some(tracker) = tracker {
        tracker.begin_batch(last.position);
    }
    connection.transaction()
}

fn commit_batch(
    transaction: Transaction<'_>,
    tracker: Option<&mut Tracker>,
    last: &Recorded,
) -> Result<(), rusqlite::Error> {
    if let Some(tracker) = tracker {
        tracker.end_batch(&transaction, last.position)?;
    }
    transaction.commit()
}

fn stored_views(projectors: Vec<Box<dyn Projector>>, compatibility: Vec<Compatibility>) -> Vec<StoredView> {
    let stored = projectors.into_iter().zip(compatibility);
    stored.map(|(projector, compatibility)| StoredView { projector, compatibility }).collect()
}

fn all_current(projectors: Vec<Box<dyn Projector>>) -> Vec<StoredView> {
    let current = vec![Compatibility::Current; projectors.len()];
    stored_views(projectors, current)
}

fn current_projectors(stored: &mut [StoredView]) -> impl Iterator<Item = &mut Box<dyn Projector>> {
    stored
        .iter_mut()
        .filter(|stored| stored.compatibility == Compatibility::Current)
        .map(|stored| &mut stored.projector)
}

/// The events after the checkpoint; none for a view that has stopped.
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

/// Applies the batch at once, or event by event if that fails.
fn apply_to(
    transaction: &mut Transaction<'_>,
    projector: &mut dyn Projector,
    events: &[Arc<Recorded>],
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    if apply_in_savepoint(transaction, projector, events)?.is_ok() {
        return Ok(());
    }
    let mut before = (checkpoint.position, checkpoint.recorded_at_micros);
    for recorded in events {
        if let Err(error) = apply_in_savepoint(transaction, projector, std::slice::from_ref(recorded))? {
            return stop(transaction, projector.view(), before.0, before.1, recorded, &error);
        }
        before = (recorded.position, recorded.recorded_at.timestamp_micros());
    }
    Ok(())
}

/// Applies events in a savepoint. The inner error is the events' fault, the outer one the database's.
fn apply_in_savepoint(
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
    position: u64,
    recorded_at: i64,
    recorded: &Recorded,
    error: &ProjectionError,
) -> Result<(), StoreError> {
    let why = format!("{}.v{} at {}: {error}", recorded.event.name(), recorded.event.version(), recorded.position);
    tracing::error!(view = view.as_str(), position = recorded.position, %error, "the view stopped: it cannot apply an event");
    transaction.prepare_cached(STOP)?.execute(params![view.as_str(), position, recorded_at, why])?;
    Ok(())
}

/// The checkpoint of a view, read on any connection to the file; `None` for a view that the file does not have.
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

/// Opens an existing file and checks each view's rows. `None` if the file is absent, of another ledger, or without the tables that
/// say how far views are.
fn reopen(
    path: &Path,
    settings: &ConnectionSettings,
    projectors: &[Box<dyn Projector>],
    belongs: impl Fn(&Checkpoint) -> Result<bool, LogError>,
) -> Result<Option<(Connection, Vec<Compatibility>)>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = connect(path, settings)?;
    let existing = objects(&connection)?;
    if !objects_of([SCHEMA])?.is_subset(&existing) {
        tracing::warn!("another version wrote the views' file: recreating it");
        return Ok(None);
    }
    let mut compatibility = Vec::with_capacity(projectors.len());
    for projector in projectors {
        let checkpoint = read_checkpoint(&connection, projector.view())?;
        if let Some(checkpoint) = &checkpoint
            && !belongs(checkpoint)?
        {
            tracing::warn!(
                view = projector.view().as_str(),
                "the views' file is of another ledger, or of this one before a restore: recreating it"
            );
            return Ok(None);
        }
        let missing: Vec<String> = objects_of([projector.schema()])?.difference(&existing).cloned().collect();
        compatibility.push(match checkpoint {
            // Rows without an index are still read, only more slowly.
            Some(_) if missing.iter().any(|object| object.starts_with("CREATE TABLE")) => Compatibility::Unreadable,
            Some(checkpoint) if checkpoint.version == projector.version() && missing.is_empty() => {
                Compatibility::Current
            }
            Some(_) => Compatibility::Older,
            None => Compatibility::Unreadable,
        });
    }
    sql_views::update(&mut connection)?;
    Ok(Some((connection, compatibility)))
}

fn create(path: &Path, settings: &ConnectionSettings, stored: &[StoredView]) -> Result<Connection, StoreError> {
    delete(path)?;
    let mut connection = connect(path, settings)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    for StoredView { projector, .. } in stored {
        transaction.execute_batch(projector.schema())?;
        transaction.execute(BEGIN, params![projector.view().as_str(), projector.version()])?;
    }
    sql_views::create(&transaction)?;
    transaction.commit()?;
    Ok(connection)
}

pub(super) fn create_tables(connection: &Connection, projectors: &[Box<dyn Projector>]) -> Result<(), rusqlite::Error> {
    connection.execute_batch(SCHEMA)?;
    projectors.iter().try_for_each(|projector| connection.execute_batch(projector.schema()))
}

/// Whether the file has all tables and indexes of a new one, defined the same way. Additional ones are ignored.
pub(super) fn has_schema_of(
    connection: &Connection,
    projectors: &[Box<dyn Projector>],
) -> Result<bool, rusqlite::Error> {
    let schemas = projectors.iter().map(|projector| projector.schema()).chain([SCHEMA]);
    Ok(objects_of(schemas)?.is_subset(&objects(connection)?))
}

/// Whether this version can go on with all of these views in a file. It is only read.
pub(super) fn is_current(path: &Path, projectors: &[Box<dyn Projector>]) -> Result<bool, rusqlite::Error> {
    let connection = offline::connect(path)?;
    if !has_schema_of(&connection, projectors)? {
        return Ok(false);
    }
    for projector in projectors {
        let stored = read_checkpoint(&connection, projector.view())?;
        if stored.is_none_or(|checkpoint| checkpoint.version != projector.version()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn objects_of<'a>(schemas: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>, rusqlite::Error> {
    let fresh = Connection::open_in_memory()?;
    schemas.into_iter().try_for_each(|schema| fresh.execute_batch(schema))?;
    objects(&fresh)
}

/// Tables and indexes, each as the SQL that created it.
fn objects(connection: &Connection) -> Result<BTreeSet<String>, rusqlite::Error> {
    connection.prepare(OBJECTS)?.query_map([], |row| row.get(0))?.collect()
}

/// Deletes a database with the files that SQLite keeps beside it.
pub(super) fn delete(path: &Path) -> Result<(), StoreError> {
    for suffix in [""].into_iter().chain(private::BESIDE_A_DATABASE) {
        let path = private::beside(path, suffix);
        if let Err(source) = std::fs::remove_file(&path)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(StoreError::Delete { path, source });
        }
    }
    Ok(())
}

fn connect(path: &Path, settings: &ConnectionSettings) -> Result<Connection, rusqlite::Error> {
    private::prepare_database(path);
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    exact::register(&connection)?;
    connection.pragma_update(None, "journal_mode", settings.journal_mode)?;
    connection.pragma_update(None, "synchronous", settings.synchronous)?;
    connection.pragma_update(None, "cache_size", -settings.cache_kib)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok(connection)
}

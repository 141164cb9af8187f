//! The views as they stood at an earlier position, built from the log in a file of their own. Its tables are those of `views.db`,
//! and so are its rows: those of a gateway of this version that stopped at that position. The table `replay` says which it was.
//!
//! It begins with a copy of the nearest [snapshot](super::snapshots) at or before the position, if there is one that can be used,
//! and otherwise at the first event.
//!
//! The file is a database by itself, without a write-ahead log. It is written without waiting for the disk: the caller syncs it
//! and gives it its name ([`events::private::place_new`]).

use std::ops::ControlFlow;
use std::path::Path;

use chrono::{DateTime, Utc};
use events::time::{from_micros, rfc3339};
use events_log::Reader;
use rusqlite::{Connection, params};

use super::View;
use super::log_pages::pages;
use super::replay_error::ReplayError;
use super::snapshots::{self, PassedOver, Unusable};
use super::store::{Checkpoint, Store};

const TABLES: &str = include_str!("checkpoint/tables.sql");
const CHECKPOINTS: &str = "rows_projections";
const CREATE: &str = include_str!("replay/table.sql");
const INSERT: &str = include_str!("replay/insert.sql");
const DROP: &str = "DROP TABLE IF EXISTS replay";

/// The request for a replay, as the file records it.
#[derive(Clone, Copy, Debug)]
pub struct ReplayRequest<'a> {
    /// The last event that the rows reflect; 0 for none.
    pub position: u64,
    /// The position or time that the user gave.
    pub as_of: &'a str,
    /// The version of the program.
    pub version: &'a str,
    pub made_at: DateTime<Utc>,
    /// The folders with snapshots to begin with.
    pub snapshots: &'a [&'a Path],
}

/// Called now and then with the position reached and with the last one; ends the replay if it breaks.
pub type Watch<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// The contents of the file.
#[derive(Debug)]
pub struct Replayed {
    /// When the event at the position was recorded; `None` at position 0.
    pub recorded_at: Option<DateTime<Utc>>,
    /// The rows of all views.
    pub rows: u64,
    /// The position of the snapshot that it began with; 0 if it began with the first event.
    pub began_at: u64,
    /// The snapshots that are nearer and could not be used.
    pub passed_over: Vec<PassedOver>,
}

/// Builds all views up to a position of this log, in a file that replaces one of this name. Blocking.
pub fn replay(
    file: &Path,
    log: &dyn Reader,
    request: &ReplayRequest<'_>,
    watch: &mut Watch<'_>,
) -> Result<Replayed, ReplayError> {
    let ReplayRequest { position, as_of, version, made_at, .. } = *request;
    let mut begun = begin(file, log, request, watch)?;
    let recorded_at = advance(&mut begun, log, position, watch)?;
    let Begun { store, began_at, passed_over } = begun;
    let rows = count_rows(&store.connection)?;
    store.connection.execute_batch(CREATE)?;
    let (recorded, made_at) = (recorded_at.map(rfc3339), rfc3339(made_at));
    store.connection.execute(INSERT, params![position, recorded, as_of, version, made_at])?;
    store.connection.close().map_err(|(_, error)| error)?;
    Ok(Replayed { recorded_at, rows, began_at, passed_over })
}

/// Views that have yet to be brought to the position.
struct Begun {
    store: Store,
    began_at: u64,
    passed_over: Vec<PassedOver>,
}

/// The copy of a snapshot, or else views before the first event.
fn begin(
    file: &Path,
    log: &dyn Reader,
    request: &ReplayRequest<'_>,
    watch: &mut Watch<'_>,
) -> Result<Begun, ReplayError> {
    let (nearest_first, mut passed_over) = snapshots::nearest_first(request.snapshots, request.position);
    for snapshot in nearest_first {
        let mut goes_on = || watch(0, request.position).is_continue();
        let reason = match snapshot.copy_to(file, log, &mut goes_on)? {
            Ok(()) => match open_copy(file, snapshot.position)? {
                Ok(store) => return Ok(Begun { store, began_at: snapshot.position, passed_over }),
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        passed_over.push(PassedOver { file: snapshot.path, reason });
    }
    Ok(Begun { store: Store::create_scratch(file, View::projectors(View::ALL))?, began_at: 0, passed_over })
}

/// The views in the copy of a snapshot, if this version can go on with them.
fn open_copy(file: &Path, position: u64) -> Result<Result<Store, Unusable>, ReplayError> {
    match Store::open_scratch(file, View::projectors(View::ALL)) {
        Ok(None) => Ok(Err(Unusable::OtherVersion)),
        Ok(Some(store)) => match must_be_complete(&store, position) {
            Ok(_) => {
                store.connection.execute_batch(DROP)?;
                Ok(Ok(store))
            }
            Err(ReplayError::Incomplete { .. }) => Ok(Err(Unusable::Damaged)),
            Err(error) => Err(error),
        },
        Err(error) if error.is_damage() => Ok(Err(Unusable::Damaged)),
        Err(error) => Err(error.into()),
    }
}

/// Brings the views to a position. Returns when the event there was recorded.
fn advance(
    begun: &mut Begun,
    log: &dyn Reader,
    last: u64,
    watch: &mut Watch<'_>,
) -> Result<Option<DateTime<Utc>>, ReplayError> {
    let Begun { store, began_at, .. } = begun;
    for page in pages(log, *began_at, last) {
        let (reached, events) = page?;
        // A page of another log must not follow what was applied of this one.
        must_be_of(log, &store.checkpoint(View::Budgets)?)?;
        let wanted = events.partition_point(|recorded| recorded.position <= last);
        store.apply(events.get(..wanted).unwrap_or_default())?;
        if watch(reached.min(last), last).is_break() {
            return Err(ReplayError::Stopped);
        }
    }
    let reached = must_be_complete(store, last)?;
    must_be_of(log, &reached)?;
    Ok((last > 0).then(|| from_micros(reached.recorded_at_micros)))
}

fn must_be_of(log: &dyn Reader, checkpoint: &Checkpoint) -> Result<(), ReplayError> {
    if checkpoint.is_of(log)? { Ok(()) } else { Err(ReplayError::LogReplaced(checkpoint.position)) }
}

/// Refuses views that lack events: one has stopped at an event that its projector cannot apply, or the log ends before. Returns
/// the checkpoint of them all.
fn must_be_complete(store: &Store, position: u64) -> Result<Checkpoint, ReplayError> {
    let mut of_all = Checkpoint::default();
    for view in store.views() {
        let checkpoint = store.checkpoint(view)?;
        let reason = match checkpoint.error {
            Some(error) => error,
            None if checkpoint.position != position => format!("the log ends at position {}", checkpoint.position),
            None => {
                of_all = checkpoint;
                continue;
            }
        };
        return Err(ReplayError::Incomplete { view, position, reason });
    }
    Ok(of_all)
}

fn count_rows(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let tables: Vec<String> = connection.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let views = tables.iter().filter(|table| *table != CHECKPOINTS);
    // The names are our own, so they may be formatted into SQL.
    let count = |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0));
    views.map(count).sum()
}

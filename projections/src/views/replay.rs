//! The views as they stood at an earlier position, built from the log in a file of their own. Its tables are those of `views.db`,
//! and so are its rows: those of a gateway of this version that stopped at that position. The table `replay` says which it was.
//!
//! The file is a database by itself, without a write-ahead log. It is written without waiting for the disk: the caller syncs it
//! and gives it its name ([`events::private::place_new`]).

use std::path::Path;

use chrono::{DateTime, Utc};
use events::log::{LogError, Reader};
use events::time::rfc3339;
use rusqlite::{Connection, params};

use super::View;
use super::log_pages::pages;
use super::store::{Store, StoreError};

const TABLES: &str = include_str!("checkpoint/tables.sql");
const CHECKPOINTS: &str = "projections";
const CREATE: &str = include_str!("replay/table.sql");
const INSERT: &str = include_str!("replay/insert.sql");

/// What is asked for, as the file says it.
#[derive(Clone, Copy, Debug)]
pub struct ReplayRequest<'a> {
    /// The last event that the rows reflect; 0 for none.
    pub position: u64,
    /// What the user gave: a position or a time.
    pub as_of: &'a str,
    /// The version of the program.
    pub version: &'a str,
    pub made_at: DateTime<Utc>,
}

/// What the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// When the event at the position was recorded; `None` at position 0.
    pub recorded_at: Option<DateTime<Utc>>,
    /// The rows of all views.
    pub rows: u64,
}

/// The views could not be built. What is in the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("{} cannot be built up to position {position}: {reason}", view.as_str())]
    Incomplete { view: View, position: u64, reason: String },
}

impl From<rusqlite::Error> for ReplayError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Builds all views up to a position of this log, in a file that replaces one of this name. `watch` is called with the position
/// reached and with the last one. Blocking.
pub fn replay(
    file: &Path,
    log: &dyn Reader,
    request: &ReplayRequest<'_>,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Replayed, ReplayError> {
    let mut store = Store::create_scratch(file, View::projectors(View::ALL))?;
    let (last, mut recorded_at) = (request.position, None);
    for page in pages(log, 0, last) {
        let (reached, events) = page?;
        let wanted = events.partition_point(|recorded| recorded.position <= last);
        let events = events.get(..wanted).unwrap_or_default();
        store.apply(events)?;
        recorded_at = events.last().map(|recorded| recorded.recorded_at);
        watch(reached.min(last), last);
    }
    must_be_complete(&store, last)?;
    let rows = count_rows(&store.connection)?;
    let ReplayRequest { position, as_of, version, made_at } = *request;
    store.connection.execute_batch(CREATE)?;
    let (recorded, made_at) = (recorded_at.map(rfc3339), rfc3339(made_at));
    store.connection.execute(INSERT, params![position, recorded, as_of, version, made_at])?;
    store.connection.close().map_err(|(_, error)| error)?;
    Ok(Replayed { recorded_at, rows })
}

/// Refuses views that lack events: one has stopped at an event that its projector cannot apply, or the log ends before.
fn must_be_complete(store: &Store, position: u64) -> Result<(), ReplayError> {
    for view in store.views() {
        let checkpoint = store.checkpoint(view)?;
        let reason = match checkpoint.error {
            Some(error) => error,
            None if checkpoint.position != position => format!("the log ends at position {}", checkpoint.position),
            None => continue,
        };
        return Err(ReplayError::Incomplete { view, position, reason });
    }
    Ok(())
}

fn count_rows(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let tables: Vec<String> = connection.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let views = tables.iter().filter(|table| *table != CHECKPOINTS);
    // The names are our own, so they may be formatted into SQL.
    let count = |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0));
    views.map(count).sum()
}

//! The views held against the log: rows are made anew in a file of their own, up to where the views stand, and compared
//! with what is there in the order of their keys. Read-only, whether or not a process serves the folder.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::log::{LogError, Reader, offline};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::exact;
use super::projector::{ProjectionError, Projector};
use super::store::{HAS_CHECKPOINTS, VIEWS_FILE, has_the_objects_of, lay_out, read_checkpoint};
use super::{View, is_of};

/// Events taken in at a time.
const PAGE: usize = 4096;
/// Memory for pages of the new rows; what is above it stands on disk.
const CACHE_KIB: i64 = -65_536;

/// A table, how many of its columns are its key (the first ones that are asked for), and its rows in their order.
struct Table {
    name: &'static str,
    keys: usize,
    rows: &'static str,
}

const TABLES: &[Table] = &[
    Table { name: "budgets", keys: 1, rows: "SELECT * FROM budgets ORDER BY budget_id" },
    Table { name: "budget_windows", keys: 2, rows: "SELECT * FROM budget_windows ORDER BY budget_id, window_start" },
    Table { name: "usage_by_hour", keys: 8, rows: include_str!("usage_by_hour/in_order.sql") },
    Table { name: "usage_latency", keys: 8, rows: include_str!("usage_by_hour/latency_in_order.sql") },
    Table { name: "inferences", keys: 1, rows: "SELECT * FROM inferences ORDER BY position" },
    Table {
        name: "inference_incidents",
        keys: 2,
        rows: "SELECT * FROM inference_incidents ORDER BY request_id, position",
    },
    Table { name: "other_usage", keys: 1, rows: "SELECT * FROM other_usage ORDER BY position" },
    Table { name: "audit", keys: 1, rows: "SELECT * FROM audit ORDER BY position" },
    Table { name: "catalogue", keys: 2, rows: "SELECT * FROM catalogue ORDER BY kind, id" },
];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Every row is what the log says.
    Same { rows: u64 },
    /// There is no file: whoever serves the folder next makes it.
    Absent,
    /// The file is of another version: whoever serves the folder next makes it anew.
    OfAnotherVersion,
}

/// The views are not what the log says, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("the views as of position {position}: {reason}")]
    Different { position: u64, reason: String },
    #[error("read the views: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Compares the views of a folder with what this log makes of them. Blocking.
pub fn compare(dir: &Path, log: &dyn Reader) -> Result<Compared, CompareError> {
    compare_watched(dir, log, &mut |_, _| {})
}

/// The same, telling now and then up to which position rows were made anew, and which is the last.
pub fn compare_watched(
    dir: &Path,
    log: &dyn Reader,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Compared, CompareError> {
    let path = dir.join(VIEWS_FILE);
    if !path.is_file() {
        return Ok(Compared::Absent);
    }
    let found = offline::connect(&path)?;
    // One snapshot: rows and checkpoints belong together.
    found.execute_batch("BEGIN")?;
    let mut projectors: Vec<_> = View::ALL.iter().map(|view| view.projector()).collect();
    let Some(positions) = positions(&found, &projectors, log)? else { return Ok(Compared::OfAnotherVersion) };
    let fresh = build(&mut projectors, &positions, log, watch)?;
    let position = positions.iter().copied().max().unwrap_or(0);
    let mut rows = 0;
    for table in TABLES {
        let same = compare_table(table, &fresh, &found)?;
        rows += same.map_err(|reason| CompareError::Different { position, reason })?;
    }
    Ok(Compared::Same { rows })
}

/// Where each view stands; `None` for a file of another version.
fn positions(
    found: &Connection,
    projectors: &[Box<dyn Projector>],
    log: &dyn Reader,
) -> Result<Option<Vec<u64>>, CompareError> {
    let tables: u32 = found.query_row(HAS_CHECKPOINTS, [], |row| row.get(0))?;
    if tables == 0 || !has_the_objects_of(found, projectors)? {
        return Ok(None);
    }
    let mut positions = Vec::with_capacity(projectors.len());
    for projector in projectors {
        let view = projector.view();
        let Some(checkpoint) = read_checkpoint(found, view)? else { return Ok(None) };
        if checkpoint.version != projector.version() {
            return Ok(None);
        }
        let position = checkpoint.position;
        if !is_of(log, &checkpoint) {
            let reason = format!("{} has taken in an event that the log does not have", view.as_str());
            return Err(CompareError::Different { position, reason });
        }
        positions.push(position);
    }
    Ok(Some(positions))
}

/// The rows anew, each view up to its position.
fn build(
    projectors: &mut [Box<dyn Projector>],
    positions: &[u64],
    log: &dyn Reader,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Connection, CompareError> {
    // A name that is empty is a file that nobody else sees, and that is gone with its connection.
    let fresh = Connection::open("")?;
    fresh.pragma_update(None, "journal_mode", "off")?;
    fresh.pragma_update(None, "synchronous", "off")?;
    fresh.pragma_update(None, "cache_size", CACHE_KIB)?;
    fresh.set_prepared_statement_cache_capacity(64);
    exact::register(&fresh)?;
    lay_out(&fresh, projectors)?;
    let last = positions.iter().copied().max().unwrap_or(0);
    let mut position = 0;
    while position < last {
        let events: Vec<Arc<Recorded>> = log.after(position, PAGE)?.into_iter().map(Arc::new).collect();
        let Some(newest) = events.last() else { break };
        position = newest.position;
        fresh.execute_batch("BEGIN")?;
        for (projector, until) in projectors.iter_mut().zip(positions) {
            let taken = events.partition_point(|recorded| recorded.position <= *until);
            let events = events.get(..taken).unwrap_or_default();
            projector.apply(&fresh, events).map_err(|error| untaken(projector.view(), *until, &error))?;
        }
        fresh.execute_batch("COMMIT")?;
        watch(position.min(last), last);
    }
    Ok(fresh)
}

fn untaken(view: View, position: u64, error: &ProjectionError) -> CompareError {
    let reason = format!("{} cannot have taken in the log so far: {error}", view.as_str());
    CompareError::Different { position, reason }
}

/// How many rows are the same; the inner error is the first row that is not.
fn compare_table(
    table: &Table,
    fresh: &Connection,
    found: &Connection,
) -> Result<Result<u64, String>, rusqlite::Error> {
    let (mut of_log, mut of_file) = (fresh.prepare(table.rows)?, found.prepare(table.rows)?);
    let columns = of_log.column_count();
    let (mut of_log, mut of_file) = (of_log.query([])?, of_file.query([])?);
    let mut same = 0;
    loop {
        let order = match (of_log.next()?, of_file.next()?) {
            (None, None) => return Ok(Ok(same)),
            (Some(ours), None) => Err(missing(table, ours)),
            (None, Some(theirs)) => Err(added(table, theirs)),
            (Some(ours), Some(theirs)) => match by_key(table, ours, theirs)? {
                Ordering::Less => Err(missing(table, ours)),
                Ordering::Greater => Err(added(table, theirs)),
                Ordering::Equal if !is_same(columns, ours, theirs)? => {
                    Err(format!("the row {} of {} is not what the log says", key(table, ours), table.name))
                }
                Ordering::Equal => Ok(()),
            },
        };
        if let Err(different) = order {
            return Ok(Err(different));
        }
        same += 1;
    }
}

fn missing(table: &Table, row: &Row<'_>) -> String {
    format!("the row {} of {} is missing", key(table, row), table.name)
}

fn added(table: &Table, row: &Row<'_>) -> String {
    format!("no event made the row {} of {}", key(table, row), table.name)
}

/// As the database orders them: keys are numbers and texts, each compared with its kind.
fn by_key(table: &Table, ours: &Row<'_>, theirs: &Row<'_>) -> Result<Ordering, rusqlite::Error> {
    for column in 0..table.keys {
        let order = match (ours.get_ref(column)?, theirs.get_ref(column)?) {
            (ValueRef::Integer(ours), ValueRef::Integer(theirs)) => ours.cmp(&theirs),
            (ValueRef::Text(ours), ValueRef::Text(theirs)) => ours.cmp(theirs),
            _ => Ordering::Equal,
        };
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn is_same(columns: usize, ours: &Row<'_>, theirs: &Row<'_>) -> Result<bool, rusqlite::Error> {
    for column in 0..columns {
        if ours.get_ref(column)? != theirs.get_ref(column)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The row's key, for people.
fn key(table: &Table, row: &Row<'_>) -> String {
    let texts = (0..table.keys).map(|column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    });
    texts.collect::<Vec<_>>().join("/")
}

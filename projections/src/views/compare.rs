//! Comparison of the views with the log. Rows are built again in a temporary file, up to the position of each view, and
//! compared with the stored ones in the order of their keys. It is read-only, whether or not a process serves the folder.

use std::cmp::Ordering;
use std::path::Path;

use events_log::{LogError, Reader, offline};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::View;
use super::exact;
use super::log_pages::pages;
use super::projector::{ProjectionError, Projector};
use super::sql_views;
use super::store::{VIEWS_FILE, create_tables, has_schema_of, read_checkpoint};

/// The page cache for the new rows, as SQLite counts: negative is KiB. The rest lies on disk.
const CACHE_KIB: i64 = -65_536;

/// A table, the number of its key columns (the first ones selected), and the query that reads its rows in key order.
struct Table {
    name: &'static str,
    keys: usize,
    rows: &'static str,
}

const TABLES: &[Table] = &[
    Table { name: "budgets", keys: 1, rows: "SELECT * FROM rows_budgets ORDER BY budget_id" },
    Table {
        name: "budget_windows",
        keys: 2,
        rows: "SELECT * FROM rows_budget_windows ORDER BY budget_id, window_start",
    },
    Table { name: "usage_by_hour", keys: 9, rows: include_str!("usage_by_hour/in_order.sql") },
    Table { name: "usage_latency", keys: 9, rows: include_str!("usage_by_hour/latency_in_order.sql") },
    Table {
        name: "failed_calls",
        keys: 5,
        rows: "SELECT * FROM rows_failed_calls ORDER BY provider_id, model, hour, tenant_id, partner_id",
    },
    Table { name: "inferences", keys: 1, rows: "SELECT * FROM rows_inferences ORDER BY position" },
    Table {
        name: "inference_incidents",
        keys: 2,
        rows: "SELECT * FROM rows_inference_incidents ORDER BY request_id, position",
    },
    Table { name: "other_usage", keys: 1, rows: "SELECT * FROM rows_other_usage ORDER BY position" },
    Table { name: "audit", keys: 1, rows: "SELECT * FROM rows_audit ORDER BY position" },
    Table { name: "catalogue", keys: 2, rows: "SELECT * FROM rows_catalogue ORDER BY kind, id" },
];

/// The result of a comparison that stored no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Every row agrees with the log.
    Same { rows: u64 },
    /// There is no file: the next start creates it.
    Absent,
    /// Another version wrote the file: the next start rebuilds it.
    OtherVersion,
    /// The view has applied an event, at this position, that the ledger does not have: it is of another ledger, or the ledger has lost
    /// the event. The next start recreates the file.
    OtherLedger { view: View, position: u64 },
}

/// The views differ from the log, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("the views as of position {position}: {reason}")]
    Different { position: u64, reason: String },
    #[error("read the views: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Compares the views of a folder with this log. `watch` is called now and then with the position reached and with the
/// last one. Blocking.
pub fn compare(dir: &Path, log: &dyn Reader, watch: &mut dyn FnMut(u64, u64)) -> Result<Comparison, CompareError> {
    let path = dir.join(VIEWS_FILE);
    if !path.is_file() {
        return Ok(Comparison::Absent);
    }
    let stored = offline::connect(&path)?;
    // One snapshot: rows and checkpoints belong together.
    stored.execute_batch("BEGIN")?;
    let projectors = View::projectors(View::ALL);
    let positions = match positions(&stored, &projectors, log)? {
        Ok(positions) => positions,
        Err(not_compared) => return Ok(not_compared),
    };
    let mut fresh = FreshRows::of(projectors)?;
    fresh.advance(&positions, log, watch)?;
    let position = positions.iter().copied().max().unwrap_or(0);
    let mut rows = 0;
    for table in TABLES {
        rows += compare_table(table, fresh.rows(), &stored, position)?;
    }
    Ok(Comparison::Same { rows })
}

/// The position of each view, or why the file is not compared.
fn positions(
    stored: &Connection,
    projectors: &[Box<dyn Projector>],
    log: &dyn Reader,
) -> Result<Result<Vec<u64>, Comparison>, CompareError> {
    if !has_schema_of(stored, projectors)? || !sql_views::are_current(stored)? {
        return Ok(Err(Comparison::OtherVersion));
    }
    let mut positions = Vec::with_capacity(projectors.len());
    for projector in projectors {
        let view = projector.view();
        let Some(checkpoint) = read_checkpoint(stored, view)? else { return Ok(Err(Comparison::OtherVersion)) };
        if checkpoint.version != projector.version() {
            return Ok(Err(Comparison::OtherVersion));
        }
        let position = checkpoint.position;
        if !checkpoint.is_of(log)? {
            return Ok(Err(Comparison::OtherLedger { view, position }));
        }
        positions.push(position);
    }
    Ok(Ok(positions))
}

/// The rows of views, built again from the log in a temporary file.
pub struct FreshRows {
    rows: Connection,
    /// Each with the position up to which its rows are built.
    projectors: Vec<(Box<dyn Projector>, u64)>,
}

impl FreshRows {
    /// Every view, before the first event. Blocking.
    pub fn empty() -> Result<Self, CompareError> {
        Self::of(View::projectors(View::ALL))
    }

    fn of(projectors: Vec<Box<dyn Projector>>) -> Result<Self, CompareError> {
        // With an empty name SQLite uses a private file, deleted with the connection.
        let rows = Connection::open("")?;
        rows.pragma_update(None, "journal_mode", "off")?;
        rows.pragma_update(None, "synchronous", "off")?;
        rows.pragma_update(None, "cache_size", CACHE_KIB)?;
        rows.set_prepared_statement_cache_capacity(64);
        exact::register(&rows)?;
        create_tables(&rows, &projectors)?;
        Ok(Self { rows, projectors: projectors.into_iter().map(|projector| (projector, 0)).collect() })
    }

    /// Builds each view up to its position, in the order of [`View::ALL`]; none goes back. Blocking.
    pub fn advance(
        &mut self,
        positions: &[u64],
        log: &dyn Reader,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<(), CompareError> {
        let last = positions.iter().copied().max().unwrap_or(0);
        let first = self.projectors.iter().map(|(_, built)| *built).min().unwrap_or(0);
        for page in pages(log, first, last) {
            let (position, events) = page?;
            self.rows.execute_batch("BEGIN")?;
            for ((projector, built), until) in self.projectors.iter_mut().zip(positions) {
                let known = events.partition_point(|recorded| recorded.position <= *built);
                let taken = events.partition_point(|recorded| recorded.position <= *until);
                let events = events.get(known..taken).unwrap_or_default();
                projector
                    .apply(&self.rows, events)
                    .map_err(|error| not_applicable(projector.view(), *until, &error))?;
                *built = position.min(*until).max(*built);
            }
            self.rows.execute_batch("COMMIT")?;
            watch(position.min(last), last);
        }
        Ok(())
    }

    /// Up to where the views are built, in the order of [`View::ALL`].
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.projectors.iter().map(|(_, built)| *built)
    }

    /// The tables of the views.
    pub const fn rows(&self) -> &Connection {
        &self.rows
    }
}

fn not_applicable(view: View, position: u64, error: &ProjectionError) -> CompareError {
    let reason = format!("{} cannot have applied the log up to here: {error}", view.as_str());
    CompareError::Different { position, reason }
}

/// Counts the rows that are equal. Errors: the first one that is not.
fn compare_table(table: &Table, fresh: &Connection, stored: &Connection, position: u64) -> Result<u64, CompareError> {
    let (mut expected_rows, mut stored_rows) = (fresh.prepare(table.rows)?, stored.prepare(table.rows)?);
    let columns = expected_rows.column_count();
    let (mut expected_rows, mut stored_rows) = (expected_rows.query([])?, stored_rows.query([])?);
    let missing = |row: &Row<'_>| Err(format!("{} is missing", described(table, row)));
    let added = |row: &Row<'_>| Err(format!("no event made {}", described(table, row)));
    let mut same = 0;
    loop {
        let order = match (expected_rows.next()?, stored_rows.next()?) {
            (None, None) => return Ok(same),
            (Some(expected), None) => missing(expected),
            (None, Some(actual)) => added(actual),
            (Some(expected), Some(actual)) => match by_key(table, expected, actual)? {
                Ordering::Less => missing(expected),
                Ordering::Greater => added(actual),
                Ordering::Equal if !is_same(columns, expected, actual)? => Err(differing(table, expected)),
                Ordering::Equal => Ok(()),
            },
        };
        order.map_err(|reason| CompareError::Different { position, reason })?;
        same += 1;
    }
}

fn differing(table: &Table, row: &Row<'_>) -> String {
    let row = described(table, row);
    format!("{row} and the log differ: compare the log with a backup of ledger.db before you rebuild the view")
}

/// Compares keys in the database's order: numbers with numbers, texts with texts.
fn by_key(table: &Table, expected: &Row<'_>, actual: &Row<'_>) -> Result<Ordering, rusqlite::Error> {
    for column in 0..table.keys {
        let order = match (expected.get_ref(column)?, actual.get_ref(column)?) {
            (ValueRef::Integer(expected), ValueRef::Integer(actual)) => expected.cmp(&actual),
            (ValueRef::Text(expected), ValueRef::Text(actual)) => expected.cmp(actual),
            _ => Ordering::Equal,
        };
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn is_same(columns: usize, expected: &Row<'_>, actual: &Row<'_>) -> Result<bool, rusqlite::Error> {
    (0..columns).try_fold(true, |same, column| Ok(same && expected.get_ref(column)? == actual.get_ref(column)?))
}

/// A row by its key and its table, for messages.
fn described(table: &Table, row: &Row<'_>) -> String {
    let texts = (0..table.keys).map(|column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    });
    format!("the row {} of {}", texts.collect::<Vec<_>>().join("/"), table.name)
}

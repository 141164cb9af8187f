//! Comparison of the copy with the log: the views are built again up to the position of the copy, and their rows are mapped and
//! compared with the copied ones in the order of their keys. It is read-only. Most of the log is read before the transaction in which
//! the copy is read, which holds back the clean-up of its database.

use std::cmp::Ordering;

use events::log::{DatabaseAddress, LogError, Reader};
use futures_util::TryStreamExt;
use projections::views::View;
use projections::views::compare::{CompareError, FreshRows};
use rusqlite::Connection;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::runtime::Builder;

use crate::copied::CopiedView;
use crate::copy_writer::{self, statements};
use crate::error::CopyError;
use crate::reading::values;
use crate::table::{Column, TABLES, Table};
use crate::value::{Value, Values};

/// All statements see the same rows.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// A table is read in one statement, which waits while rows are compared.
const NO_LIMITS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// The result of a comparison that found no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyComparison {
    /// Every row agrees with the log up to this position.
    Same { rows: u64, position: u64 },
    /// Nothing was copied yet.
    Absent,
    /// Another version of the program copied these rows.
    OtherVersion(View),
}

/// The copy differs from the log, or could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareCopyError {
    #[error("the copy as of position {position}: {reason}")]
    Different { position: u64, reason: String },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Views(#[from] CompareError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("start a runtime: {0}")]
    Runtime(std::io::Error),
}

impl From<rusqlite::Error> for CompareCopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Copy(error.into())
    }
}

/// The next row of the copy; `None` after the last one.
type NextRow<'a> = &'a mut dyn FnMut() -> Result<Option<Values>, CopyError>;

/// Compares the copy in a database with this log. `watch` is called now and then with the position reached and with the last one.
/// Blocking.
pub fn compare(
    database: &DatabaseAddress,
    log: &dyn Reader,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<CopyComparison, CompareCopyError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(CompareCopyError::Runtime)?;
    let before = runtime.block_on(async {
        let mut connection = copy_writer::connect(database).await?;
        copy_writer::check_layout(&mut connection).await?;
        copy_writer::copied(&mut connection).await
    })?;
    let mut fresh = FreshRows::empty()?;
    if let Err(not_compared) = build(&mut fresh, &before, log, watch)? {
        return Ok(not_compared);
    }
    let (mut connection, copied) = runtime.block_on(async {
        let mut connection = copy_writer::connect(database).await?;
        sqlx::raw_sql(NO_LIMITS).execute(&mut connection).await?;
        sqlx::raw_sql(BEGIN).execute(&mut connection).await?;
        copy_writer::check_layout(&mut connection).await?;
        let copied = copy_writer::copied(&mut connection).await?;
        Ok::<_, CopyError>((connection, copied))
    })?;
    if let Err(not_compared) = build(&mut fresh, &copied, log, watch)? {
        return Ok(not_compared);
    }
    compare_tables(&copied, &fresh, |table, fresh, position| {
        let statement = statements::rows(table);
        let mut rows = sqlx::query(&statement).fetch(&mut connection);
        compare_table(table, fresh, position, &mut || match runtime.block_on(rows.try_next())? {
            Some(row) => copied_values(table, &row).map(Some),
            None => Ok(None),
        })
    })
}

fn copied_values(table: &Table, row: &PgRow) -> Result<Values, CopyError> {
    let value = |(index, column): (usize, &Column)| Ok(Value::parse(column.kind, row.try_get(index)?)?);
    table.columns.iter().enumerate().map(value).collect()
}

fn compare_tables(
    copied: &[CopiedView],
    fresh: &FreshRows,
    mut compare: impl FnMut(&Table, &Connection, u64) -> Result<u64, CompareCopyError>,
) -> Result<CopyComparison, CompareCopyError> {
    let mut rows = 0;
    for table in TABLES {
        rows += compare(table, fresh.rows(), position_of(table.view, copied))?;
    }
    let position = copied.iter().map(|view| view.position).min().unwrap_or(0);
    Ok(CopyComparison::Same { rows, position })
}

fn position_of(view: View, copied: &[CopiedView]) -> u64 {
    copied.iter().find(|copied| copied.view == view).map_or(0, |copied| copied.position)
}

/// Builds the views up to where they are copied. The inner error says why they are not compared.
fn build(
    fresh: &mut FreshRows,
    copied: &[CopiedView],
    log: &dyn Reader,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Result<(), CopyComparison>, CompareCopyError> {
    if copied.len() < View::ALL.len() || copied.iter().all(|view| view.version == 0) {
        return Ok(Err(CopyComparison::Absent));
    }
    for view in copied {
        if view.version != view.view.version() {
            return Ok(Err(CopyComparison::OtherVersion(view.view)));
        }
        if !view.checkpoint().is_of(log)? {
            let reason = format!("{} has applied an event that the log does not have", view.view.as_str());
            return Err(CompareCopyError::Different { position: view.position, reason });
        }
    }
    let positions: Vec<u64> = View::ALL.iter().map(|view| position_of(*view, copied)).collect();
    // Everything was copied again in the meantime, by a process that is behind.
    if fresh.positions().zip(&positions).any(|(built, position)| built > *position) {
        *fresh = FreshRows::empty()?;
    }
    Ok(Ok(fresh.advance(&positions, log, watch)?))
}

/// Counts the rows that are equal. Errors: the first one that is not.
fn compare_table(table: &Table, fresh: &Connection, position: u64, next: NextRow<'_>) -> Result<u64, CompareCopyError> {
    let mut expected_rows = fresh.prepare(table.all)?;
    let mut expected_rows = expected_rows.query([])?;
    let mut same = 0;
    loop {
        let expected = expected_rows.next()?.map(|row| values(table, row)).transpose()?;
        let reason = match (expected, next()?) {
            (None, None) => return Ok(same),
            (Some(expected), None) => format!("{} is missing", described(table, &expected)),
            (None, Some(actual)) => format!("no event made {}", described(table, &actual)),
            (Some(expected), Some(actual)) => match key(table, &expected).cmp(key(table, &actual)) {
                Ordering::Less => format!("{} is missing", described(table, &expected)),
                Ordering::Greater => format!("no event made {}", described(table, &actual)),
                Ordering::Equal if expected != actual => differing(table, &expected, &actual),
                Ordering::Equal => {
                    same += 1;
                    continue;
                }
            },
        };
        return Err(CompareCopyError::Different { position, reason });
    }
}

fn key<'v>(table: &Table, values: &'v Values) -> &'v [Value] {
    values.get(..table.keys).unwrap_or_default()
}

fn differing(table: &Table, expected: &Values, actual: &Values) -> String {
    let pairs = table.columns.iter().zip(expected.iter().zip(actual));
    let columns = pairs.filter(|(_, (expected, actual))| expected != actual).map(|(column, _)| column.name);
    format!("{} differs from the log in {}", described(table, expected), columns.collect::<Vec<_>>().join(", "))
}

/// A row by its key and its table, for messages.
fn described(table: &Table, values: &Values) -> String {
    let texts: Vec<String> = key(table, values).iter().map(|value| value.shown().unwrap_or_default()).collect();
    format!("the row {} of {}", texts.join("/"), table.name)
}

//! Writes the copy: one transaction for each step, which also moves how far the copy has come. Its rows are in the schema `views_rows`,
//! and the SQL views of the schema `views` show them.

pub mod statements;

use std::collections::HashMap;
use std::time::Duration;

use events_log::{DatabaseAddress, SessionSetting};
use projections::views::{RowsId, View};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions, Row};

use crate::LAYOUT;
use crate::copied::{CopiedView, Rows, ViewStep};
use crate::error::CopyError;
use crate::reading::Piece;
use crate::table::{Column, TABLES};
use crate::value::Values;
use statements::Statements;

/// How long a connection may take to be opened.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a statement may take: a table that is copied as a whole is emptied by one.
const ANSWER_MAX: Duration = Duration::from_secs(605);

/// Settings of the session beside those of every session of the database. What a crash takes of the copy is copied
/// again, so no commit waits for the disk, on which the ledger waits. A transaction waits while the views are read.
pub const SESSION: [SessionSetting; 6] = [
    SessionSetting { name: "application_name", value: r"ledgerway\ analysts" },
    SessionSetting { name: "search_path", value: "views_rows" },
    SessionSetting { name: "synchronous_commit", value: "off" },
    SessionSetting { name: "statement_timeout", value: "10min" },
    // The locks of a copier that died in a long statement are not to keep the next one waiting.
    SessionSetting { name: "client_connection_check_interval", value: "1s" },
    SessionSetting { name: "idle_in_transaction_session_timeout", value: "1min" },
];

const EXISTS: &str = "SELECT to_regclass('views_rows.layout') IS NOT NULL";
const READ_LAYOUT: &str = "SELECT version FROM views_rows.layout";
const COPIED: &str = "SELECT view, version, position, recorded_at, file, swaps FROM views_rows.copied";
/// Locks the rows in one order, so that two copiers do not wait for each other.
const LOCK: &str = "SELECT view FROM views_rows.copied ORDER BY view FOR UPDATE";
const MOVE: &str = "
    UPDATE views_rows.copied
    SET version = $3, position = $4, recorded_at = $5, file = $6, swaps = $7, token = $8
    WHERE view = $1 AND position = $2 AND token <= $8";

/// A copy that is being written. After an error it is of no use.
pub struct CopyWriter {
    connection: PgConnection,
    statements: HashMap<&'static str, Statements>,
}

impl CopyWriter {
    pub async fn open(database: &DatabaseAddress) -> Result<Self, CopyError> {
        let mut connection = connect(database).await?;
        check_layout(&mut connection).await?;
        let statements = TABLES.iter().map(|table| (table.name, Statements::of(table))).collect();
        Ok(Self { connection, statements })
    }

    /// How far each view is copied.
    pub async fn copied(&mut self) -> Result<Vec<CopiedView>, CopyError> {
        copied(&mut self.connection).await
    }

    /// Begins the transaction of these steps. Tables that are copied as a whole are emptied in it.
    ///
    /// Errors: among others, the copy is not where the steps begin, or a later lease has moved it.
    pub async fn begin(&mut self, steps: &[ViewStep], token: i64) -> Result<(), CopyError> {
        self.run("BEGIN").await?;
        self.run(LOCK).await?;
        for step in steps {
            self.move_to(step, token).await?;
        }
        let replaced = steps.iter().filter(|step| step.rows == Rows::All).map(|step| step.to.view);
        let replaced: Vec<View> = replaced.collect();
        for table in TABLES.iter().filter(|table| replaced.contains(&table.view)) {
            self.run(&statements::empty(table)).await?;
        }
        Ok(())
    }

    /// Moves how far a view is copied, if it is still where the step begins.
    async fn move_to(&mut self, step: &ViewStep, token: i64) -> Result<(), CopyError> {
        let CopiedView { view, version, position, recorded_at_micros, rows: RowsId { file, swaps } } = &step.to;
        let moved = sqlx::query(MOVE)
            .bind(view.as_str())
            .bind(signed(step.from))
            .bind(i64::from(*version))
            .bind(signed(*position))
            .bind(recorded_at_micros)
            .bind(file)
            .bind(swaps)
            .bind(token)
            .execute(&mut self.connection);
        let moved = within(ANSWER_MAX, moved).await?;
        if moved.rows_affected() == 1 { Ok(()) } else { Err(CopyError::Overtaken) }
    }

    pub async fn write(&mut self, piece: &Piece) -> Result<(), CopyError> {
        let Piece { table, rows, deleted } = piece;
        let Some(statements) = self.statements.get(table.name) else { return Ok(()) };
        if !deleted.is_empty() {
            send(&mut self.connection, &statements.delete, table.key_columns(), deleted).await?;
        }
        if !rows.is_empty() {
            send(&mut self.connection, &statements.upsert, table.columns, rows).await?;
        }
        Ok(())
    }

    pub async fn commit(&mut self) -> Result<(), CopyError> {
        self.run("COMMIT").await
    }

    async fn run(&mut self, statement: &str) -> Result<(), CopyError> {
        within(ANSWER_MAX, sqlx::query(statement).execute(&mut self.connection)).await.map(drop)
    }
}

/// Sends one array of texts for each column.
async fn send(
    connection: &mut PgConnection,
    statement: &str,
    columns: &[Column],
    rows: &[Values],
) -> Result<(), CopyError> {
    let mut query = sqlx::query(statement);
    for index in 0..columns.len() {
        let column = rows.iter().map(|row| row.get(index).and_then(|value| value.shown()));
        query = query.bind(column.collect::<Vec<Option<String>>>());
    }
    within(ANSWER_MAX, query.execute(connection)).await.map(drop)
}

pub async fn connect(database: &DatabaseAddress) -> Result<PgConnection, CopyError> {
    within(CONNECT_MAX, database.connect_options(&SESSION).connect()).await
}

/// Refuses tables that this version cannot write or read.
pub async fn check_layout(connection: &mut PgConnection) -> Result<(), CopyError> {
    match layout(connection).await? {
        None => Err(CopyError::NotMigrated),
        Some(LAYOUT) => Ok(()),
        Some(found) => Err(CopyError::OtherLayout { found }),
    }
}

/// The version of the tables; `None` if there are none.
pub async fn layout(connection: &mut PgConnection) -> Result<Option<i64>, CopyError> {
    let exists = sqlx::query_scalar::<_, bool>(EXISTS).fetch_one(&mut *connection);
    if !within(CONNECT_MAX, exists).await? {
        return Ok(None);
    }
    within(CONNECT_MAX, sqlx::query_scalar(READ_LAYOUT).fetch_one(connection)).await.map(Some)
}

pub async fn copied(connection: &mut PgConnection) -> Result<Vec<CopiedView>, CopyError> {
    let rows = within(CONNECT_MAX, sqlx::query(COPIED).fetch_all(connection)).await?;
    let views = rows.iter().map(copied_view).collect::<Result<Vec<_>, _>>()?;
    Ok(views.into_iter().flatten().collect())
}

/// `None` for a view of another version.
fn copied_view(row: &PgRow) -> Result<Option<CopiedView>, sqlx::Error> {
    let name: &str = row.try_get(0)?;
    let Some(view) = View::ALL.iter().copied().find(|view| view.as_str() == name) else { return Ok(None) };
    let (version, position): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Some(CopiedView {
        view,
        version: u32::try_from(version).unwrap_or(0),
        position: u64::try_from(position).unwrap_or(0),
        recorded_at_micros: row.try_get(3)?,
        rows: RowsId { file: row.try_get(4)?, swaps: row.try_get(5)? },
    }))
}

pub async fn within<T>(max: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, CopyError> {
    Ok(tokio::time::timeout(max, work).await.map_err(|_| CopyError::NoAnswer)??)
}

/// Positions have 63 bits.
fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

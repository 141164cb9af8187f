//! The copy in a file of its own, `analytics.db`, for a gateway whose ledger is in its folder. Analysts may open it at any time: its
//! readers do not block the copier, nor the copier them. It is disposable: a damaged file, or one of another layout, is deleted and
//! copied again.

mod statements;

use std::path::{Path, PathBuf};
use std::time::Duration;

use events::private;
use events_log::Exact;
use projections::views::{RowsId, View};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params, params_from_iter};

use crate::LAYOUT;
use crate::copied::{CopiedView, Rows, ViewStep};
use crate::error::CopyError;
use crate::reading::Piece;
use crate::table::{Column, TABLES, Table};
use crate::value::{Value, Values};

/// The copy's file in the data folder.
pub const ANALYTICS_FILE: &str = "analytics.db";

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/analytics/0001_analytics.sql");
const COPIED: &str = "SELECT view, version, position, recorded_at, file, swaps FROM rows_copied";
const MOVE: &str = "
    UPDATE rows_copied
    SET version = ?3, position = ?4, recorded_at = ?5, file = ?6, swaps = ?7, token = ?8
    WHERE view = ?1 AND position = ?2 AND token <= ?8";
/// How long to wait for somebody who writes into the file.
const BUSY_MAX: Duration = Duration::from_secs(2);
/// More than there are statements.
const STATEMENTS_MAX: usize = 32;
/// Pages of the write-ahead log between its checkpoints: 16 MiB. A checkpoint syncs a disk on which the ledger waits.
const CHECKPOINT_PAGES: u32 = 4096;

/// The longest write-ahead log to which more is added, unless the file is longer: it cannot be emptied while somebody reads in a
/// transaction, and it lies on the disk of the ledger.
const WAL_MAX: u64 = 256 * 1024 * 1024;
/// What is kept of an empty write-ahead log, to be written again.
const WAL_KEPT: u64 = 64 * 1024 * 1024;

pub struct SqliteCopy {
    path: PathBuf,
    /// `None` while a thread for blocking work has it, and after one was interrupted.
    connection: Option<Connection>,
}

impl SqliteCopy {
    pub async fn open(dir: PathBuf) -> Result<Self, CopyError> {
        let path = dir.join(ANALYTICS_FILE);
        let opened = path.clone();
        let opened = tokio::task::spawn_blocking(move || open_or_create(&opened));
        let connection = opened.await.map_err(|_| CopyError::Interrupted)??;
        Ok(Self { path, connection: Some(connection) })
    }

    pub async fn copied(&mut self) -> Result<Vec<CopiedView>, CopyError> {
        self.run(copied).await
    }

    pub async fn begin(&mut self, steps: &[ViewStep], token: i64) -> Result<(), CopyError> {
        let (steps, path) = (steps.to_vec(), self.path.clone());
        let begun = move |connection: &Connection| {
            bound_wal(connection, &path)?;
            begin(connection, &steps, token)
        };
        self.run(begun).await
    }

    pub async fn write(&mut self, piece: Piece) -> Result<(), CopyError> {
        self.run(move |connection| write(connection, &piece)).await
    }

    pub async fn commit(&mut self) -> Result<(), CopyError> {
        self.run(|connection| connection.execute_batch("COMMIT").map_err(CopyError::File)).await
    }

    /// Works off the async threads. The connection is not kept after a failure, which rolls its transaction back; nor is the file
    /// if it turned out to be damaged.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, CopyError> + Send + 'static,
    ) -> Result<T, CopyError> {
        let connection = self.connection.take().ok_or(CopyError::Interrupted)?;
        let path = self.path.clone();
        let worked = tokio::task::spawn_blocking(move || match work(&connection) {
            Ok(done) => Ok((connection, done)),
            Err(CopyError::File(error)) if is_damage(&error) => {
                drop(connection);
                delete(&path)?;
                Err(CopyError::Damaged(error))
            }
            Err(error) => Err(error),
        });
        let (connection, done) = worked.await.map_err(|_| CopyError::Interrupted)??;
        self.connection = Some(connection);
        Ok(done)
    }
}

fn open_or_create(path: &Path) -> Result<Connection, CopyError> {
    if path.exists() {
        match reopen(path) {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => tracing::info!("another version wrote analytics.db: copying it again"),
            Err(error) if is_damage(&error) => {
                tracing::error!(%error, "analytics.db is damaged: copying it again");
            }
            Err(error) => return Err(CopyError::File(error)),
        }
    }
    delete(path)?;
    create(path).map_err(CopyError::File)
}

/// `None` if the file has another layout.
fn reopen(path: &Path) -> Result<Option<Connection>, rusqlite::Error> {
    let connection = connect(path)?;
    if !has_layout(&connection)? {
        return Ok(None);
    }
    connection.query_row("SELECT count(*) FROM rows_copied", [], |_| Ok(()))?;
    Ok(Some(connection))
}

fn has_layout(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map(|found| found == LAYOUT)
}

fn create(path: &Path) -> Result<Connection, rusqlite::Error> {
    let mut connection = connect(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.commit()?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    private::prepare_database(path);
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || error.to_string().starts_with("no such table")
}

fn delete(path: &Path) -> Result<(), CopyError> {
    for suffix in [""].into_iter().chain(private::BESIDE_A_DATABASE) {
        let path = private::beside(path, suffix);
        if let Err(source) = std::fs::remove_file(&path)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(CopyError::Delete { path, source });
        }
    }
    Ok(())
}

fn copied(connection: &Connection) -> Result<Vec<CopiedView>, CopyError> {
    let mut statement = connection.prepare_cached(COPIED).map_err(CopyError::File)?;
    let (mut rows, mut views) = (statement.query([]).map_err(CopyError::File)?, Vec::new());
    while let Some(row) = rows.next().map_err(CopyError::File)? {
        let read = || -> Result<Option<CopiedView>, rusqlite::Error> {
            let name: String = row.get(0)?;
            let Some(view) = View::ALL.iter().copied().find(|view| view.as_str() == name) else { return Ok(None) };
            Ok(Some(CopiedView {
                view,
                version: row.get(1)?,
                position: row.get(2)?,
                recorded_at_micros: row.get(3)?,
                rows: RowsId { file: row.get(4)?, swaps: row.get(5)? },
            }))
        };
        views.extend(read().map_err(CopyError::File)?);
    }
    Ok(views)
}

/// Errors: the write-ahead log is too long, and somebody keeps it from being emptied.
fn bound_wal(connection: &Connection, path: &Path) -> Result<(), CopyError> {
    let len = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let wal = len(&private::beside(path, "-wal"));
    if wal <= WAL_MAX.max(len(path)) {
        return Ok(());
    }
    let is_held =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(CopyError::File)?;
    if is_held { Err(CopyError::WalHeld { mib: wal / (1024 * 1024) }) } else { Ok(()) }
}

fn begin(connection: &Connection, steps: &[ViewStep], token: i64) -> Result<(), CopyError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(CopyError::File)?;
    for step in steps {
        let CopiedView { view, version, position, recorded_at_micros, rows: RowsId { file, swaps } } = &step.to;
        let moved = connection.prepare_cached(MOVE).and_then(|mut statement| {
            statement.execute(params![
                view.as_str(),
                step.from,
                version,
                position,
                recorded_at_micros,
                file,
                swaps,
                token
            ])
        });
        if moved.map_err(CopyError::File)? != 1 {
            return Err(CopyError::Overtaken);
        }
        if step.rows == Rows::All {
            for table in TABLES.iter().filter(|table| table.view == *view) {
                connection.execute_batch(&statements::empty(table)).map_err(CopyError::File)?;
            }
        }
    }
    Ok(())
}

fn write(connection: &Connection, piece: &Piece) -> Result<(), CopyError> {
    let Piece { table, rows, deleted } = piece;
    let run = |statement: &str, columns: &[Column], rows: &[Values]| {
        let mut statement = connection.prepare_cached(statement)?;
        rows.iter().try_for_each(|row| statement.execute(params_from_iter(parameters(columns, row))).map(drop))
    };
    run(&statements::delete(table), table.key_columns(), deleted).map_err(CopyError::File)?;
    run(&statements::upsert(table), table.columns, rows).map_err(CopyError::File)
}

/// The values of a row; money also in nano-dollars.
fn parameters(columns: &[Column], row: &Values) -> Vec<rusqlite::types::Value> {
    let mut parameters = Vec::with_capacity(columns.len() + 4);
    for (column, value) in columns.iter().zip(row) {
        parameters.push(stored(value));
        if column.kind.is_money() {
            parameters.push(match value {
                Value::Dollars(nanos) => number(*nanos),
                _ => rusqlite::types::Value::Null,
            });
        }
    }
    parameters
}

fn stored(value: &Value) -> rusqlite::types::Value {
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Count(count) => number(*count),
        Value::Null | Value::Instant(_) | Value::Dollars(_) | Value::Text(_) | Value::List(_) => {
            value.for_sqlite().into()
        }
    }
}

/// An integer, or its digits where it has more than 64 bits, as [`Exact`] is stored.
fn number(number: i128) -> rusqlite::types::Value {
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Into::into)
}

/// The copy as of one moment, for reading.
pub struct SqliteSnapshot {
    connection: Connection,
}

impl SqliteSnapshot {
    /// `None` if there is no copy that this version can read. Blocking.
    pub fn open(dir: &Path) -> Result<Option<Self>, CopyError> {
        let path = dir.join(ANALYTICS_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let open = || -> Result<Option<Self>, rusqlite::Error> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_MAX)?;
            connection.execute_batch("BEGIN")?;
            Ok(has_layout(&connection)?.then_some(Self { connection }))
        };
        open().map_err(CopyError::File)
    }

    pub fn copied(&self) -> Result<Vec<CopiedView>, CopyError> {
        copied(&self.connection)
    }

    /// Reads the rows of a table one by one, in the order of their keys.
    pub fn read_rows<T>(
        &self,
        table: &Table,
        read: impl FnOnce(&mut dyn FnMut() -> Result<Option<Values>, CopyError>) -> T,
    ) -> Result<T, CopyError> {
        let mut statement = self.connection.prepare(&statements::rows(table)).map_err(CopyError::File)?;
        let mut rows = statement.query([]).map_err(CopyError::File)?;
        Ok(read(&mut || match rows.next().map_err(CopyError::File)? {
            Some(row) => values(table, row).map(Some),
            None => Ok(None),
        }))
    }
}

fn values(table: &Table, row: &Row<'_>) -> Result<Values, CopyError> {
    let (mut values, mut columns) = (Values::new(), 0..);
    let mut next = || columns.next().unwrap_or_default();
    for column in table.columns {
        let shown = row.get(next()).map_err(CopyError::File)?;
        let value = Value::parse(column.kind, shown)?;
        // Dollars that differ from their nano-dollars are no value of this table.
        values.push(if column.kind.is_money() && value != nanos(row, next())? {
            Value::List(Vec::new())
        } else {
            value
        });
    }
    Ok(values)
}

fn nanos(row: &Row<'_>, index: usize) -> Result<Value, CopyError> {
    let nanos: Option<Exact> = row.get(index).map_err(CopyError::File)?;
    Ok(nanos.map_or(Value::Null, |Exact(nanos)| Value::Dollars(nanos)))
}

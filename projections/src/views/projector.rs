//! The projector of a view turns events, in the log's order, into rows. The store keeps its checkpoint, so that it sees
//! every event once.

use std::sync::Arc;

use events::event::Recorded;
use rusqlite::{Connection, ToSql};

use super::View;

/// Writes the rows of one view. It keeps no state between batches: rows must be the same however the log is cut into
/// batches.
pub trait Projector: Send {
    fn view(&self) -> View;

    /// The version of the rows. Increment it when they would differ: the view is then rebuilt.
    fn version(&self) -> u32;

    /// The SQL that creates its tables and indexes.
    fn schema(&self) -> &'static str;

    /// Writes what `events` change. They come in order, each once. An error rolls the whole batch back.
    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError>;
}

/// A projector could not apply an event.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error("write rows: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("write an event as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a sum does not fit 127 bits")]
    Overflow,
    #[error("no row for {0}, which the log made before")]
    Missing(String),
}

/// Whether the database itself failed, rather than the statement.
pub fn is_storage_failure(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| !matches!(code, ConstraintViolation | TooBig | TypeMismatch))
}

/// Writes a row by a statement that takes all of these parameters, or the first of them.
pub fn write_row(
    db: &Connection,
    sql: &str,
    what: impl ToString,
    parameters: &[&dyn ToSql],
) -> Result<(), ProjectionError> {
    let mut statement = db.prepare_cached(sql)?;
    let parameters = parameters.get(..statement.parameter_count()).unwrap_or(parameters);
    must_exist(statement.execute(parameters)?, what)
}

/// Refuses an update that changed no row.
pub fn must_exist(rows: usize, what: impl ToString) -> Result<(), ProjectionError> {
    if rows == 0 { Err(ProjectionError::Missing(what.to_string())) } else { Ok(()) }
}

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

/// Writes a row by a statement that takes exactly these parameters.
pub fn write_row(
    db: &Connection,
    sql: &str,
    what: impl ToString,
    parameters: &[&dyn ToSql],
) -> Result<(), ProjectionError> {
    must_exist(db.prepare_cached(sql)?.execute(parameters)?, what)
}

/// Refuses an update that changed no row.
pub fn must_exist(rows: usize, what: impl ToString) -> Result<(), ProjectionError> {
    if rows == 0 { Err(ProjectionError::Missing(what.to_string())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;

    #[test]
    fn a_statement_is_given_exactly_its_parameters() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2)").expect("a table");
        let written = |parameters: &[&dyn ToSql]| write_row(&db, "UPDATE t SET b = ?2 WHERE a = ?1", 1, parameters);
        assert!(matches!(written(params![1, 3]), Ok(())));
        assert!(matches!(written(params![2, 3]), Err(ProjectionError::Missing(_))));
        for wrong in [params![1], params![1, 3, 4]] {
            let refused = rusqlite::Error::InvalidParameterCount(wrong.len(), 2).to_string();
            assert!(matches!(written(wrong), Err(ProjectionError::Database(error)) if error.to_string() == refused));
        }
    }
}

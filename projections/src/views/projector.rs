//! What a view is made by: it turns events, in the log's order, into rows. Who runs it keeps its checkpoint, so that it
//! sees every event once.

use std::sync::Arc;

use events::event::Recorded;
use rusqlite::Connection;

use super::View;

/// Makes the rows of one view. Keeps nothing in memory between batches: rows have to come out the same however the
/// log is cut into batches.
pub trait Projector: Send {
    fn view(&self) -> View;

    /// Rises when the rows would look different: the view is then built anew.
    fn version(&self) -> u32;

    /// Creates its tables and indexes in an empty database.
    fn schema(&self) -> &'static str;

    /// Writes what `events` change. They come in order, each once; an error undoes all of it.
    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError>;
}

/// Events could not be turned into rows.
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

/// Whether the database failed, rather than what was asked of it.
pub fn is_storage_failure(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| !matches!(code, ConstraintViolation | TooBig | TypeMismatch))
}

/// Refuses an update that found nothing to update.
pub fn must_exist(rows: usize, what: impl ToString) -> Result<(), ProjectionError> {
    if rows == 0 { Err(ProjectionError::Missing(what.to_string())) } else { Ok(()) }
}

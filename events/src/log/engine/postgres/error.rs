//! The database's errors, as the log's.

use crate::log::{EngineError, EngineErrorKind, LogError};

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<sqlx::Error> for EngineError {
    fn from(error: sqlx::Error) -> Self {
        let kind = match (&error, sqlstate(&error).as_deref()) {
            // Data exceptions and violated constraints.
            (_, Some(state)) if state.starts_with("22") || state.starts_with("23") => EngineErrorKind::Data,
            // Damaged data or a damaged index.
            (_, Some(state)) if state.starts_with("XX") => EngineErrorKind::Damaged,
            _ => EngineErrorKind::Unavailable,
        };
        Self { kind, message: error.to_string() }
    }
}

/// The five characters of the database's own error, if it sent one.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// True if the connection may be lost or in any state, so that nobody knows what became of the statement: anything but an
/// answer of the database, and its answers that end the session (class 08, 57P01 to 57P05).
pub(super) fn is_about_connection(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        Some(state) => state.starts_with("08") || state.starts_with("57P"),
        None => !matches!(
            error,
            sqlx::Error::RowNotFound
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::TypeNotFound { .. }
        ),
    }
}

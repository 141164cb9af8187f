//! The database's errors, as the log's.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

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

/// The error of a database that cannot be used now.
pub(super) fn unavailable(message: impl Into<String>) -> EngineError {
    EngineError { kind: EngineErrorKind::Unavailable, message: message.into() }
}

/// The five characters of the database's own error, if it sent one.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// True if the connection may be lost or in any state, so that nobody knows what became of the statement: anything but an
/// answer of the database, and its answers that end the session. Among them is the failure of a commit whose record may be on
/// the disk all the same: a server that cannot sync its write-ahead log says so, and crashes.
pub(super) fn is_about_connection(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        Some(state) => state.starts_with("08") || state.starts_with("57P") || ends_session(error),
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

fn ends_session(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    answer.is_some_and(|answer| matches!(answer.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

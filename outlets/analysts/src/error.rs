//! Why the copy cannot be made or read.

use events::log::LogError;
use projections::views::View;

use crate::LAYOUT;
use crate::value::UnreadableValue;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("read the views: {0}")]
    Views(#[from] rusqlite::Error),
    #[error("the database has nothing for analysts yet: run `ledgerway migrate`")]
    NotMigrated,
    #[error(
        "the schema `views_rows` has the layout {found}, and this version of ledgerway has {LAYOUT}: run `ledgerway migrate` of the \
         newer version, and start that one"
    )]
    OtherLayout { found: i64 },
    #[error("a newer version of ledgerway has copied {}: leaving it to that version", .0.as_str())]
    NewerRows(View),
    #[error(
        "the copy of {} stands still at position {position}, and the log is at {head}: the views of this process do not follow (its log \
         and `GET /v1/projections` say why); another process may copy its own",
        view.as_str()
    )]
    StandsStill { view: View, position: u64, head: u64 },
    #[error("another process has copied in the meantime")]
    Overtaken,
    /// The database with the copy, and the log.
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the database did not answer in time")]
    NoAnswer,
    #[error("a copied row: {0}")]
    Value(#[from] UnreadableValue),
    /// The gateway is stopping, or a thread ended.
    #[error("it was interrupted")]
    Interrupted,
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

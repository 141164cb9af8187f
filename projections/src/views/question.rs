//! The interface of typed questions to the views. A question is a value: it holds the caller's visibility and the filters,
//! and it knows the views that it reads. Its statements lie beside it in the folder of its view, so that they change with
//! the tables. Callers name no table and write no SQL.

use events_log::concurrency::QUERY_MAX;
use rusqlite::Connection;

use super::past_error::PastError;
use super::{Behind, Stopping, View};

/// A question with its parameters.
pub trait Question: Send + 'static {
    type Answer: Send + 'static;

    /// The views that it may read. They have to be at one position.
    const VIEWS: &'static [View];

    /// The views that it reads with these parameters.
    fn views(&self) -> &'static [View] {
        Self::VIEWS
    }

    /// Reads the answer, in one transaction with the positions of the views.
    fn answer(self, db: &Connection) -> Result<Self::Answer, ViewsError>;
}

/// The views cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    #[error("read the views: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("a stored value cannot be read: {0}")]
    Stored(#[from] serde_json::Error),
    #[error("a stored time cannot be read")]
    StoredTime,
    #[error("the query took longer than {} s", QUERY_MAX.as_secs())]
    TookTooLong,
    #[error("the query was lost")]
    Lost,
    #[error("the view {} is being rebuilt", .0.as_str())]
    Rebuilding(View),
    #[error(transparent)]
    Behind(#[from] Behind),
    #[error(transparent)]
    Past(#[from] PastError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
    #[error("this node keeps no views: another one answers")]
    Off,
}

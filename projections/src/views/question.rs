//! The interface of typed questions to the views. A question is a value: it holds the caller's visibility and the filters,
//! and it knows the views that it reads. Its statements lie beside it in the folder of its view, so that they change with
//! the tables. Callers name no table and write no SQL.

use rusqlite::Connection;

use super::{View, ViewsError};

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

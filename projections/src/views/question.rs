//! What can be asked of the views. A question is a value: it says whose rows count, and which of them, and it knows the
//! views that it reads. Its statements stand beside it in the folder of its view, so that they change with the tables that
//! they read; whoever asks names no table and writes no SQL.

use rusqlite::Connection;

use super::{View, ViewsError};

/// A question with its parameters.
pub trait Question: Send + 'static {
    type Answer: Send + 'static;

    /// The views that it reads, which have to be at one position.
    const VIEWS: &'static [View];

    /// Those of them that it reads with these parameters.
    fn views(&self) -> &'static [View] {
        Self::VIEWS
    }

    /// Reads the answer, in one transaction with the positions of the views.
    fn answer(self, db: &Connection) -> Result<Self::Answer, ViewsError>;
}

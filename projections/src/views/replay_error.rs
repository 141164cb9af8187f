//! Why a build of the views up to a position ended.

use std::io;

use events_log::LogError;

use super::View;
use super::store::StoreError;

/// The views could not be built. What is in the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("{} cannot be built up to position {position}: {reason}", view.as_str())]
    Incomplete { view: View, position: u64, reason: String },
    #[error("the log no longer has the event at position {0} that it had: it was replaced meanwhile")]
    LogReplaced(u64),
    #[error("write the file: {0}")]
    Write(#[from] io::Error),
    /// `watch` ended it.
    #[error("it was stopped")]
    Stopped,
}

impl From<rusqlite::Error> for ReplayError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

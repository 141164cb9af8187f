//! The view of the access log: a database of the newest entries in a file of its own, which one process writes. You can delete it
//! while no gateway runs.

mod file;
mod questions;

use std::path::{Path, PathBuf};

use projections::views::{SearchResult, ViewsError};
use rusqlite::{Connection, OpenFlags};

pub use file::{ViewError, ViewFile};
pub use questions::{Filter, List, ListedRequest, StatusRange};

pub const VIEW_FILE: &str = "access.db";

/// Reads the view. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    path: PathBuf,
}

impl View {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { path: folder.join(VIEW_FILE) }
    }

    /// Answers a question. Blocking.
    pub fn ask(&self, list: &List) -> Result<SearchResult<ListedRequest>, ViewsError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(file::BUSY_MAX)?;
        list.answer(&db)
    }
}

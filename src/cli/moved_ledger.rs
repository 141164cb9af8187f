//! The marker that `move` leaves in a folder whose ledger it copies into a database. Two ledgers with the same keys and the same
//! budgets would each spend them, so `serve` refuses such a folder until somebody deletes the marker on purpose. It is there before
//! the copy is committed, so that no copy is without one.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use events::log::DatabaseAddress;
use events::private;

/// The marker, whose content is the address of the database without a password.
const FILE: &str = "moved-to";

/// The marker in a data folder.
pub fn marker(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Marks the folder, also if it is marked already.
pub fn mark(dir: &Path, database: &DatabaseAddress) -> io::Result<()> {
    let mut file = private::open_or_create(&marker(dir))?;
    file.set_len(0)?;
    writeln!(file, "{database}")?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Removes the marker, if there is one.
pub fn unmark(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(marker(dir)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the folder's ledger was moved to; `None` without a marker.
pub fn moved_to(dir: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(marker(dir)) {
        Ok(database) => Ok(Some(database.trim().to_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

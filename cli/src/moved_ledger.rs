//! The marker that `move` leaves in a folder whose ledger it copies into a database. Two ledgers with the same keys and the same
//! budgets would each spend them, so `serve` refuses such a folder until somebody deletes the marker on purpose. It is there before
//! the copy is committed, so that no copy is without one.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use events::log::DatabaseAddress;
use events::private;

use super::{Failure, print_error};

/// The marker, whose content is the address of the database without a password.
const FILE: &str = "moved-to";

/// The marker in a data folder.
pub fn marker(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Marks the folder, also if it is marked already. A crash leaves it as it was, or marked.
pub fn mark(dir: &Path, database: &DatabaseAddress) -> io::Result<()> {
    if moved_to(dir)?.is_none_or(|marked| marked != database.to_string()) {
        private::replace(&marker(dir), format!("{database}\n").as_bytes())?;
    }
    // It may have been renamed by a process that ended before it had synced the folder.
    File::open(dir)?.sync_all()
}

/// Removes the marker, if there is one.
pub fn unmark(dir: &Path) -> io::Result<()> {
    match fs::remove_file(marker(dir)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the folder's ledger was moved to; `None` without a marker.
pub fn moved_to(dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(marker(dir)) {
        Ok(database) => Ok(Some(database.trim().to_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says of views that are built from the folder's ledger what they lack, if it was moved.
pub fn say_if_moved(dir: &Path) -> Result<(), Failure> {
    let moved_to =
        moved_to(dir).map_err(|error| Failure::NotBegun(format!("cannot read {}: {error}", marker(dir).display())))?;
    if let Some(moved_to) = moved_to {
        print_error(&format!(
            "the ledger was moved to {moved_to}; what was recorded there since is not in these views"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_replaced_as_a_whole_and_that_of_an_earlier_move_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = ["postgres://ledgerway@one/ledger", "postgres://ledgerway@other/ledger"]
            .map(|url| url.parse::<DatabaseAddress>().expect("an address"));
        mark(folder.path(), &one).expect("a marker");
        assert_eq!(moved_to(folder.path()).expect("a marker"), Some(one.to_string()));
        // Another name of the same file, which a write in place would change.
        let link = folder.path().join("link");
        fs::hard_link(marker(folder.path()), &link).expect("a link");
        let linked = || fs::read_to_string(&link).expect("the first marker");
        let before = fs::metadata(&link).expect("the file").modified().expect("a time");
        mark(folder.path(), &one).expect("the same marker");
        assert_eq!(fs::metadata(marker(folder.path())).expect("the file").modified().expect("a time"), before);
        mark(folder.path(), &other).expect("another marker");
        assert_eq!(moved_to(folder.path()).expect("a marker"), Some(other.to_string()));
        assert_eq!(linked(), format!("{one}\n"));
        unmark(folder.path()).expect("it is removed");
        assert_eq!(moved_to(folder.path()).expect("no marker"), None);
    }
}

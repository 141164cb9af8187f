//! The room that is left on a disk.

use std::io;
use std::path::Path;

/// The bytes that this process may still write to the file system of a folder.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_some_room_and_a_missing_folder_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(free_bytes(folder.path()).expect("a number") > 0);
        assert!(free_bytes(&folder.path().join("missing")).is_err());
    }
}

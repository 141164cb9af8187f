//! The room on the disk that a file of views needs before it is built.

use std::io;
use std::path::Path;

use events::free_space::free_bytes;
use events::private;

/// Bytes left for others on the disk, on which the ledger may be as well.
const LEFT_FREE_BYTES: u64 = 1 << 30;

/// There is no room, or it is not known.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    #[error("the disk has {free} bytes left, and needs {needed}")]
    DiskNearlyFull { free: u64, needed: u64 },
    #[error("the folder: {0}")]
    Folder(#[from] io::Error),
}

/// Refuses to write so many bytes to a folder, which is created, if little else would fit on its disk then.
pub fn must_have_room(folder: &Path, bytes: u64) -> Result<(), NoRoom> {
    let needed = bytes.saturating_add(LEFT_FREE_BYTES);
    private::create_folder(folder)?;
    let free = free_bytes(folder)?;
    if free < needed { Err(NoRoom::DiskNearlyFull { free, needed }) } else { Ok(()) }
}

//! A file of the published log that is not what its checkpoint says.

use tlog::{EntryBundleId, MalformedBundle, MalformedTile, TILE_WIDTH, TileId};

use crate::files::{FOLDER, name};

/// A tile or a bundle of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeFile {
    Tile(TileId),
    Bundle(EntryBundleId),
}

/// A file that is damaged, or missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} in {place} {fault}")]
pub struct DamagedFile {
    /// Its name below the address of the object store: `tlog/tile/0/000`.
    pub path: String,
    pub place: String,
    /// The position of the first event that it has, or that is under it.
    pub position: u64,
    pub fault: FileFault,
}

/// The fault of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    #[error("is missing")]
    Missing,
    #[error("is damaged: it is {bytes} bytes long, more than it may be")]
    TooLong { bytes: u64 },
    #[error("is damaged: {0}")]
    Tile(#[from] MalformedTile),
    #[error("is damaged: {0}")]
    Bundle(#[from] MalformedBundle),
    #[error("is damaged: its hashes are not those of the checkpoint")]
    OtherHashes,
    #[error("is damaged: its entry of position {position} is not the one of the checkpoint")]
    OtherEntry { position: u64 },
    #[error("is damaged: it is not the beginning of the wider one that has replaced it")]
    OtherBytes,
    #[error("is no file of a published log")]
    UnknownName,
}

impl DamagedFile {
    /// The file, if it is one of a tree.
    pub(crate) fn file(&self) -> Option<TreeFile> {
        TreeFile::of_name(&self.path)
    }
}

impl TreeFile {
    /// Whether it is one of the files of a tree of this size, and not of a smaller or a larger one.
    pub fn is_of_tree(self, size: u64) -> bool {
        match self {
            Self::Tile(id) => TileId::in_tree(size, id.level(), id.index()) == Some(id),
            Self::Bundle(id) => EntryBundleId::in_tree(size, id.index()) == Some(id),
        }
    }

    /// The path as in the specification.
    pub fn path(self) -> String {
        match self {
            Self::Tile(id) => id.to_string(),
            Self::Bundle(id) => id.to_string(),
        }
    }

    /// Reads a path; `None` if no file is called like that.
    pub fn parse(path: &str) -> Option<Self> {
        let bundle = path.parse().map(Self::Bundle);
        bundle.or_else(|_| path.parse().map(Self::Tile)).ok()
    }

    /// Reads a name below the address of an object store; `None` if no file is called like that.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(FOLDER)?.strip_prefix('/')?)
    }

    /// The positions of the events that it has, or that are under it: the first and the last.
    pub fn positions(self) -> (u64, u64) {
        let (level, index, width) = match self {
            Self::Tile(id) => (u32::from(id.level()), id.index(), id.width()),
            Self::Bundle(id) => (0, id.index(), id.width()),
        };
        let under_a_hash = u64::from(TILE_WIDTH).saturating_pow(level);
        let first = index.saturating_mul(u64::from(TILE_WIDTH)).saturating_mul(under_a_hash);
        (first.saturating_add(1), first.saturating_add(u64::from(width).saturating_mul(under_a_hash)))
    }

    pub(crate) fn damaged(self, place: String, fault: FileFault) -> DamagedFile {
        DamagedFile { path: name(&self.path()), place, position: self.positions().0, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_positions_under_it() {
        for (path, positions) in [
            ("tile/0/000", (1, 256)),
            ("tile/0/002.p/88", (513, 600)),
            ("tile/1/000.p/2", (1, 512)),
            ("tile/1/001", (65_537, 131_072)),
            ("tile/entries/001.p/3", (257, 259)),
        ] {
            let file = TreeFile::parse(path).expect("a path");
            assert_eq!((file.positions(), file.path()), (positions, path.to_owned()));
        }
        assert_eq!(TreeFile::parse("tile/0/000.tmp"), None);
    }
}

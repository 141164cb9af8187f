//! Entry bundles: the entries under a tile of level 0, each after its length as two big-endian bytes
//! (<https://c2sp.org/tlog-tiles#log-entries>). Path: `tile/entries/<N>[.p/<W>]`.

use std::fmt;
use std::str::FromStr;

use crate::tile::TileId;
use crate::tile_path::{IndexAndWidth, MalformedPath, TILE_WIDTH};

/// Names an entry bundle. Its text is its path below the prefix of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryBundleId(IndexAndWidth);

/// An entry bundle while it is written.
#[derive(Clone, Debug, Default)]
pub struct EntryBundle {
    bytes: Vec<u8>,
    width: u16,
}

/// An entry cannot be added to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedEntry {
    #[error("an entry has at most 65535 bytes, not {bytes}")]
    TooLong { bytes: usize },
    #[error("a bundle has at most 256 entries")]
    BundleFull,
}

/// The bytes of an entry bundle are not its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBundle {
    #[error("the bundle ends within entry {entry} of {width}")]
    Truncated { entry: u16, width: u16 },
    #[error("{bytes} bytes follow the last of {width} entries")]
    Longer { bytes: usize, width: u16 },
}

impl EntryBundleId {
    /// A bundle with 1 to 256 entries; `None` outside this range.
    pub fn new(index: u64, width: u16) -> Option<Self> {
        IndexAndWidth::new(index, width).map(Self)
    }

    /// The bundle as it is in a log of this size; `None` if the log has no such bundle.
    pub fn in_tree(size: u64, index: u64) -> Option<Self> {
        let tile = TileId::in_tree(size, 0, index)?;
        Self::new(tile.index(), tile.width())
    }

    /// Its number among the bundles. Its first entry has 256 times this index.
    pub const fn index(&self) -> u64 {
        self.0.index
    }

    /// How many entries it has.
    pub const fn width(&self) -> u16 {
        self.0.width
    }

    pub const fn is_partial(&self) -> bool {
        self.0.width < TILE_WIDTH
    }
}

impl fmt::Display for EntryBundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/entries/{}", self.0)
    }
}

impl FromStr for EntryBundleId {
    type Err = MalformedPath;

    fn from_str(path: &str) -> Result<Self, MalformedPath> {
        let place = path.strip_prefix("tile/entries/").ok_or(MalformedPath)?;
        IndexAndWidth::parse(place).map(Self).ok_or(MalformedPath)
    }
}

impl EntryBundle {
    pub fn new() -> Self {
        Self::default()
    }

    /// A bundle that others have written, to which entries are added: the partial one at the end of a log.
    pub fn parse(id: EntryBundleId, bytes: &[u8]) -> Result<Self, MalformedBundle> {
        parse_entries(id, bytes)?;
        Ok(Self { bytes: bytes.to_vec(), width: id.width() })
    }

    /// Adds the next entry, or leaves the bundle as it is.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), RefusedEntry> {
        if self.width == TILE_WIDTH {
            return Err(RefusedEntry::BundleFull);
        }
        let len = u16::try_from(entry.len()).map_err(|_| RefusedEntry::TooLong { bytes: entry.len() })?;
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(entry);
        self.width += 1;
        Ok(())
    }

    /// How many entries it has.
    pub const fn width(&self) -> u16 {
        self.width
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The entries of a bundle: as many as the width of its id, and nothing after them.
pub fn parse_entries(id: EntryBundleId, mut bytes: &[u8]) -> Result<Vec<&[u8]>, MalformedBundle> {
    let width = id.width();
    let mut entries = Vec::with_capacity(usize::from(width));
    for entry in 0..width {
        let (found, rest) = split_entry(bytes).ok_or(MalformedBundle::Truncated { entry, width })?;
        entries.push(found);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(MalformedBundle::Longer { bytes: bytes.len(), width });
    }
    Ok(entries)
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let (empty, longest) = (Vec::new(), vec![7; 65_535]);
        let mut bundle = EntryBundle::new();
        for entry in [&b"first"[..], &empty, &longest] {
            bundle.push(entry).expect("it fits");
        }
        let too_long = vec![0; 65_536];
        assert_eq!(bundle.push(&too_long), Err(RefusedEntry::TooLong { bytes: 65_536 }));
        let id = EntryBundleId::new(0, bundle.width()).expect("an id");
        assert_eq!((id.to_string(), &bundle.as_bytes()[..7]), ("tile/entries/000.p/3".to_owned(), &b"\0\x05first"[..]));
        assert_eq!(parse_entries(id, bundle.as_bytes()), Ok(vec![&b"first"[..], &empty, &longest]));
        let mut continued = EntryBundle::parse(id, bundle.as_bytes()).expect("a bundle");
        for bundle in [&mut bundle, &mut continued] {
            bundle.push(b"last").expect("it fits");
        }
        assert_eq!((continued.width(), continued.as_bytes()), (4, bundle.as_bytes()));
        assert_eq!(EntryBundle::parse(id, b"").err(), Some(MalformedBundle::Truncated { entry: 0, width: 3 }));
    }

    #[test]
    fn a_bundle_ends_with_its_last_entry() {
        let mut bundle = EntryBundle::new();
        for _ in 0..256 {
            bundle.push(b"ab").expect("it fits");
        }
        assert_eq!(bundle.push(b""), Err(RefusedEntry::BundleFull));
        let bytes = bundle.into_bytes();
        let id = |width| EntryBundleId::new(0, width).expect("an id");
        assert_eq!(parse_entries(id(256), &bytes).map(|entries| entries.len()), Ok(256));
        assert_eq!(parse_entries(id(255), &bytes), Err(MalformedBundle::Longer { bytes: 4, width: 255 }));
        for len in [0, 1, 2, 3, 1023] {
            let truncated = MalformedBundle::Truncated { entry: u16::try_from(len / 4).expect("few"), width: 256 };
            assert_eq!(parse_entries(id(256), &bytes[..len]), Err(truncated));
        }
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for path in ["tile/entries/000", "tile/entries/x001/x234/067.p/255"] {
            assert_eq!(path.parse::<EntryBundleId>().map(|id| id.to_string()), Ok(path.to_owned()));
        }
        for other in ["tile/entries/", "tile/entries/0", "tile/0/000", "entries/000", "tile/entries/000.p/256"] {
            assert_eq!(other.parse::<EntryBundleId>(), Err(MalformedPath), "{other}");
        }
        assert_eq!(EntryBundleId::in_tree(70_000, 273), EntryBundleId::new(273, 112));
        assert_eq!((EntryBundleId::in_tree(70_000, 274), EntryBundleId::in_tree(256, 1)), (None, None));
    }
}

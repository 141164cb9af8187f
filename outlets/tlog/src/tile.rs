//! Tiles: up to 256 consecutive hashes of one level of the tree (<https://c2sp.org/tlog-tiles>). Level 0 has the hashes of leaves;
//! above it, each hash is the root of a full tile of the level below. `tile/<L>/<N>` is the path of a full tile and never changes;
//! the last tile of a level is partial as long as it has fewer hashes, and each of its widths has a path: `tile/<L>/<N>.p/<W>`.

use std::fmt;
use std::str::FromStr;

use crate::decimal;
use crate::hash::{HASH_BYTES, Hash};
use crate::tile_path::{IndexAndWidth, MalformedPath, TILE_WIDTH};

/// A tile is the top of a subtree with this many levels below it.
pub const TILE_HEIGHT: u32 = 8;
/// The highest level that a path can have. Trees of at most 2^63 leaves end at level 7.
const LEVEL_MAX: u8 = 63;

/// Names a tile. Its text is its path below the prefix of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TileId {
    level: u8,
    place: IndexAndWidth,
}

/// A tile with its hashes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    id: TileId,
    /// The hashes, as many as the width of the id.
    hashes: Vec<Hash>,
}

/// The bytes of a tile do not have its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{id} has {expected} bytes, not {found}")]
pub struct MalformedTile {
    pub id: TileId,
    pub expected: usize,
    pub found: usize,
}

impl TileId {
    /// A tile of a level from 0 to 63, with 1 to 256 hashes; `None` outside these ranges.
    pub fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        let place = IndexAndWidth::new(index, width)?;
        (level <= LEVEL_MAX).then_some(Self { level, place })
    }

    pub(crate) const fn full(level: u8, index: u64) -> Self {
        Self { level, place: IndexAndWidth { index, width: TILE_WIDTH } }
    }

    /// The tile as it is in a tree of this size; `None` if the tree has no such tile.
    pub fn in_tree(size: u64, level: u8, index: u64) -> Option<Self> {
        let hashes = hashes_of_level(size, level).checked_sub(index.checked_mul(u64::from(TILE_WIDTH))?)?;
        Self::new(level, index, u16::try_from(hashes.min(u64::from(TILE_WIDTH))).ok()?)
    }

    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Its number among the tiles of its level.
    pub const fn index(&self) -> u64 {
        self.place.index
    }

    /// How many hashes it has.
    pub const fn width(&self) -> u16 {
        self.place.width
    }

    pub const fn is_partial(&self) -> bool {
        self.place.width < TILE_WIDTH
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/{}", self.level, self.place)
    }
}

impl FromStr for TileId {
    type Err = MalformedPath;

    fn from_str(path: &str) -> Result<Self, MalformedPath> {
        let read = || {
            let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
            let level = u8::try_from(decimal::parse(level)?).ok().filter(|level| *level <= LEVEL_MAX)?;
            Some(Self { level, place: IndexAndWidth::parse(place)? })
        };
        read().ok_or(MalformedPath)
    }
}

impl Tile {
    /// Reads the bytes of a tile: its hashes, one after the other.
    pub fn parse(id: TileId, bytes: &[u8]) -> Result<Self, MalformedTile> {
        let expected = usize::from(id.width()) * HASH_BYTES;
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if bytes.len() != expected || !rest.is_empty() {
            return Err(MalformedTile { id, expected, found: bytes.len() });
        }
        Ok(Self { id, hashes: hashes.iter().copied().map(Hash::from_bytes).collect() })
    }

    /// A tile with as many hashes as its id says; its maker has counted them.
    pub(crate) fn new(id: TileId, hashes: Vec<Hash>) -> Self {
        debug_assert_eq!(usize::from(id.width()), hashes.len(), "{id}");
        Self { id, hashes }
    }

    pub const fn id(&self) -> TileId {
        self.id
    }

    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }
}

/// How many hashes a level has in a tree of this size: one for each full tile below.
pub(crate) fn hashes_of_level(size: u64, level: u8) -> u64 {
    size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0)
}

/// The partial tiles of a tree of this size, from the leaves upwards: at most one in each level.
pub fn partial_tiles(size: u64) -> Vec<TileId> {
    levels(size).filter_map(|level| last_tile(size, level)).filter(TileId::is_partial).collect()
}

/// The tiles that a log of size `new` has and one of size `old` does not, from the leaves upwards: full ones, and the partial ones
/// that are wider or new. None if the log has not grown.
pub fn tiles_between(old: u64, new: u64) -> impl Iterator<Item = TileId> {
    let width = u64::from(TILE_WIDTH);
    levels(new).filter(move |level| hashes_of_level(old, *level) < hashes_of_level(new, *level)).flat_map(
        move |level| {
            let first = hashes_of_level(old, level) / width;
            let full = first..hashes_of_level(new, level) / width;
            full.map(move |index| TileId::full(level, index)).chain(last_tile(new, level).filter(TileId::is_partial))
        },
    )
}

fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..=LEVEL_MAX).take_while(move |level| hashes_of_level(size, *level) > 0)
}

fn last_tile(size: u64, level: u8) -> Option<TileId> {
    let last = hashes_of_level(size, level).checked_sub(1)?;
    TileId::in_tree(size, level, last / u64::from(TILE_WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tiles: impl IntoIterator<Item = TileId>) -> Vec<String> {
        tiles.into_iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for path in ["tile/0/000", "tile/0/x001/x234/067", "tile/63/999.p/255", "tile/7/000.p/1"] {
            assert_eq!(path.parse::<TileId>().map(|id| id.to_string()), Ok(path.to_owned()));
        }
        for other in [
            "", "tile", "tile/", "tile/0", "tile/0/", "tile/64/000", "tile/00/000", "tile/-1/000", "tile/0/0",
            "Tile/0/000", "/tile/0/000", "tile/0/000/", "tile/entries/000", "tile/8/0/000", "tile/0/000.p/256",
            "tile/0/000.p/0",
        ] {
            assert_eq!(other.parse::<TileId>(), Err(MalformedPath), "{other}");
        }
    }

    /// The example of the specification.
    #[test]
    fn a_tree_of_70_000_leaves_has_partial_tiles_in_three_levels() {
        assert_eq!(texts(partial_tiles(70_000)), ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert_eq!(texts(partial_tiles(256)), ["tile/1/000.p/1"]);
        assert_eq!(tiles_between(0, 70_000).filter(|id| !id.is_partial()).count(), 273 + 1);
        assert_eq!(texts(partial_tiles(0)), Vec::<String>::new());
        assert_eq!(partial_tiles(u64::MAX).len(), 8);
    }

    #[test]
    fn only_tiles_that_changed_are_between_two_sizes() {
        assert_eq!(texts(tiles_between(70_000, 70_001)), ["tile/0/273.p/113"]);
        let completed = ["tile/0/273", "tile/0/274.p/1", "tile/1/001.p/18"];
        assert_eq!(texts(tiles_between(70_000, 70_145)), completed);
        assert_eq!(texts(tiles_between(70_000, 70_000)), Vec::<String>::new());
        assert_eq!(texts(tiles_between(70_001, 70_000)), Vec::<String>::new());
    }

    #[test]
    fn a_tile_has_the_bytes_of_its_width() {
        let id = TileId::new(0, 3, 2).expect("an id");
        let bytes: Vec<u8> = (0..64).collect();
        let tile = Tile::parse(id, &bytes).expect("a tile");
        assert_eq!((tile.hashes().len(), tile.to_bytes()), (2, bytes.clone()));
        for found in [0, 32, 63, 65, 96] {
            let bytes = vec![0; found];
            assert_eq!(Tile::parse(id, &bytes), Err(MalformedTile { id, expected: 64, found }));
        }
    }
}

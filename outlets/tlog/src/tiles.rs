//! Tiles in memory, from which proofs are made.

use std::collections::BTreeMap;

use crate::hash::Hash;
use crate::tile::{Tile, TileId};
use crate::tile_nodes::TileNodes;

/// Tiles by level and index. A wider tile serves where a narrower one is asked for: a log may delete a partial tile once the full
/// one is there. Nothing here is checked against a checkpoint: a proof that is made from wrong tiles does not verify.
#[derive(Clone, Debug, Default)]
pub struct Tiles(BTreeMap<(u8, u64), TileInMemory>);

/// A tile in memory. Cheap to clone if it has its nodes.
#[derive(Clone, Debug)]
pub enum TileInMemory {
    /// Nodes above its hashes are made for each proof.
    Hashes(Tile),
    Nodes(TileNodes),
}

impl From<Tile> for TileInMemory {
    fn from(tile: Tile) -> Self {
        Self::Hashes(tile)
    }
}

impl TileInMemory {
    const fn id(&self) -> TileId {
        match self {
            Self::Hashes(tile) => tile.id(),
            Self::Nodes(nodes) => nodes.id(),
        }
    }

    pub fn hashes(&self) -> &[Hash] {
        match self {
            Self::Hashes(tile) => tile.hashes(),
            Self::Nodes(nodes) => nodes.hashes(),
        }
    }
}

impl Tiles {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the tile, unless a wider one of its level and index is there.
    pub fn insert(&mut self, tile: impl Into<TileInMemory>) {
        let tile = tile.into();
        let id = tile.id();
        let place = (id.level(), id.index());
        if self.0.get(&place).is_none_or(|kept| kept.id().width() < id.width()) {
            self.0.insert(place, tile);
        }
    }

    /// The hashes of a tile, as many as its width; `None` if neither it nor a wider one is there.
    pub fn hashes(&self, id: TileId) -> Option<&[Hash]> {
        self.0.get(&(id.level(), id.index()))?.hashes().get(..usize::from(id.width()))
    }

    /// The full tile at the place of this one, if it is there with its nodes.
    pub(crate) fn nodes(&self, id: TileId) -> Option<&TileNodes> {
        match self.0.get(&(id.level(), id.index()))? {
            TileInMemory::Nodes(nodes) => Some(nodes),
            TileInMemory::Hashes(_) => None,
        }
    }
}

impl<T: Into<TileInMemory>> Extend<T> for Tiles {
    fn extend<I: IntoIterator<Item = T>>(&mut self, tiles: I) {
        tiles.into_iter().for_each(|tile| self.insert(tile));
    }
}

impl<T: Into<TileInMemory>> FromIterator<T> for Tiles {
    fn from_iter<I: IntoIterator<Item = T>>(tiles: I) -> Self {
        let mut collected = Self::new();
        collected.extend(tiles);
        collected
    }
}

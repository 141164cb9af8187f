//! Tiles in memory, from which proofs are made.

use std::collections::BTreeMap;

use crate::hash::Hash;
use crate::tile::{Tile, TileId};

/// Tiles by level and index. A wider tile serves where a narrower one is asked for: a log may delete a partial tile once the full
/// one is there. Nothing here is checked against a checkpoint: a proof that is made from wrong tiles does not verify.
#[derive(Clone, Debug, Default)]
pub struct Tiles(BTreeMap<(u8, u64), Vec<Hash>>);

impl Tiles {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the tile, unless a wider one of its level and index is there.
    pub fn insert(&mut self, tile: Tile) {
        let id = tile.id();
        let kept = self.0.entry((id.level(), id.index())).or_default();
        if kept.len() < usize::from(id.width()) {
            *kept = tile.into_hashes();
        }
    }

    /// The hashes of a tile, as many as its width; `None` if neither it nor a wider one is there.
    pub fn hashes(&self, id: TileId) -> Option<&[Hash]> {
        self.0.get(&(id.level(), id.index()))?.get(..usize::from(id.width()))
    }
}

impl Extend<Tile> for Tiles {
    fn extend<T: IntoIterator<Item = Tile>>(&mut self, tiles: T) {
        tiles.into_iter().for_each(|tile| self.insert(tile));
    }
}

impl FromIterator<Tile> for Tiles {
    fn from_iter<T: IntoIterator<Item = Tile>>(tiles: T) -> Self {
        let mut collected = Self::new();
        collected.extend(tiles);
        collected
    }
}

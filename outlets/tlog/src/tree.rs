//! A Merkle tree that grows. It keeps its right edge alone: the hashes of the partial tiles, at most 255 for each level, and the
//! root of each complete subtree that the edge consists of. A leaf takes one inner hash on average, and the root one for each bit
//! of the size.

use std::mem;

use crate::hash::Hash;
use crate::subtree::{join_right, root_of_complete};
use crate::tile::{TILE_HEIGHT, Tile, TileId, hashes_of_level, partial_tiles};
use crate::tile_path::TILE_WIDTH;
use crate::tiles::Tiles;
use crate::tree_head::{SIZE_MAX, TreeHead};

/// Heights of subtrees in a tree of at most `SIZE_MAX` leaves.
const HEIGHTS: usize = 63;
/// Levels of tiles in such a tree.
const LEVELS: usize = HEIGHTS.div_ceil(TILE_HEIGHT as usize);

/// The right edge of a Merkle tree, to which leaves are appended.
#[derive(Clone, Debug)]
pub struct Tree {
    size: u64,
    /// The hash at `height` is that of the subtree of 2^height leaves, if that bit of the size is set. What stands in the others
    /// has no meaning.
    subtrees: [Hash; HEIGHTS],
    /// The hashes of the partial tile of each level.
    tiles: [Vec<Hash>; LEVELS],
}

/// A tree has as many leaves as it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree has at most 2^63 - 1 leaves")]
pub struct TreeFull;

/// A tree cannot be restored from its partial tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("a tree has at most 2^63 - 1 leaves, not {size}")]
    TooLarge { size: u64 },
    #[error("{0} is missing")]
    MissingTile(TileId),
    #[error("the partial tiles of {size} leaves have the root {found}, and the checkpoint has {expected}")]
    OtherRoot { size: u64, found: Hash, expected: Hash },
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self {
            size: 0,
            subtrees: [Hash::EMPTY_ROOT; HEIGHTS],
            tiles: std::array::from_fn(|_| Vec::with_capacity(TILE_WIDTH.into())),
        }
    }

    /// The tree of a checkpoint, from the tiles that [`partial_tiles`] lists for its size. Their hashes are checked against the
    /// root.
    pub fn restore(head: &TreeHead, tiles: &Tiles) -> Result<Self, RestoreError> {
        if head.size > SIZE_MAX {
            return Err(RestoreError::TooLarge { size: head.size });
        }
        let mut tree = Self::new();
        tree.size = head.size;
        for id in partial_tiles(head.size) {
            let mut hashes = tiles.hashes(id).ok_or(RestoreError::MissingTile(id))?;
            tree.tiles[usize::from(id.level())].extend_from_slice(hashes);
            // One subtree for each bit of the width, from left to right.
            while let Some(height) = hashes.len().checked_ilog2() {
                let (complete, rest) = hashes.split_at(1 << height);
                let height_below = TILE_HEIGHT * u32::from(id.level());
                tree.subtrees[(height_below + height) as usize] = root_of_complete(complete);
                hashes = rest;
            }
        }
        match tree.root() {
            found if found == head.root => Ok(tree),
            found => Err(RestoreError::OtherRoot { size: head.size, found, expected: head.root }),
        }
    }

    /// Appends the hash of the next leaf. The full tiles that it completes are added to `completed`, from the leaves upwards.
    pub fn append(&mut self, leaf: Hash, completed: &mut Vec<Tile>) -> Result<(), TreeFull> {
        if self.size >= SIZE_MAX {
            return Err(TreeFull);
        }
        self.size += 1;
        self.keep(0, leaf, completed);
        // Each subtree that is as high as the new one merges with it, as the carry does when one is added to the size.
        let mut hash = leaf;
        let merged = self.size.trailing_zeros();
        for height in 1..=merged {
            hash = Hash::of_children(&self.subtrees[height as usize - 1], &hash);
            if height.is_multiple_of(TILE_HEIGHT) {
                self.keep((height / TILE_HEIGHT) as u8, hash, completed);
            }
        }
        self.subtrees[merged as usize] = hash;
        Ok(())
    }

    /// Keeps the next hash of a level, and completes its tile if it is the last one of it.
    fn keep(&mut self, level: u8, hash: Hash, completed: &mut Vec<Tile>) {
        let hashes = &mut self.tiles[usize::from(level)];
        hashes.push(hash);
        if hashes.len() == usize::from(TILE_WIDTH) {
            let hashes = mem::replace(hashes, Vec::with_capacity(TILE_WIDTH.into()));
            completed.push(Tile::new(TileId::full(level, hashes_of_level(self.size, level + 1) - 1), hashes));
        }
    }

    /// How many leaves it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Hash {
        let subtrees = self.subtrees.iter().enumerate();
        join_right(subtrees.filter(|(height, _)| self.size >> height & 1 == 1).map(|(_, hash)| *hash))
    }

    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// The partial tiles that this tree has and one of size `old` does not. With the tiles that were completed since, these are all
    /// that a log publishes between the two sizes. Since 0, these are all its partial tiles.
    pub fn partial_tiles_since(&self, old: u64) -> Vec<Tile> {
        let grown = partial_tiles(self.size)
            .into_iter()
            .filter(|id| hashes_of_level(old, id.level()) < hashes_of_level(self.size, id.level()));
        grown.map(|id| Tile::new(id, self.tiles[usize::from(id.level())].clone())).collect()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

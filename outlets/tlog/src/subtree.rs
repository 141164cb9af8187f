//! Parts of a tree whose hashes proofs consist of, and where in the tiles these are.

use std::iter;

use crate::hash::Hash;
use crate::tile::{TILE_HEIGHT, TileId};
use crate::tile_nodes::TileNodes;
use crate::tile_path::TILE_WIDTH;
use crate::tiles::Tiles;

/// Consecutive leaves that have a common hash in a tree, as RFC 6962 defines it: the whole of a tree, or what is on one side of a
/// split, or of a split of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subtree {
    first: u64,
    end: u64,
}

/// A subtree of 2^height leaves, whose number among those of its height is `index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompleteSubtree {
    height: u32,
    index: u64,
}

impl Subtree {
    pub const fn whole(size: u64) -> Self {
        Self { first: 0, end: size }
    }

    pub const fn len(self) -> u64 {
        self.end - self.first
    }

    pub const fn contains(self, leaf: u64) -> bool {
        self.first <= leaf && leaf < self.end
    }

    /// Both sides of its root: the left one has the largest power of two that is less than its number of leaves. `None` for a leaf.
    pub fn split(self) -> Option<(Self, Self)> {
        let middle = self.first + (1 << self.len().checked_sub(1)?.checked_ilog2()?);
        Some((Self { first: self.first, end: middle }, Self { first: middle, end: self.end }))
    }

    /// Adds the tiles with its hashes in a tree of this size.
    pub fn add_tiles(self, size: u64, tiles: &mut Vec<TileId>) {
        tiles.extend(self.complete_subtrees().filter_map(|part| part.tile(size)));
    }

    /// Its hash in a tree of this size. The error is the tile that is missing; `None` if the subtree is not in the tree.
    pub fn hash(self, size: u64, tiles: &Tiles) -> Result<Hash, Option<TileId>> {
        let hashes = self.complete_subtrees().map(|part| part.hash(size, tiles)).collect::<Result<Vec<_>, _>>()?;
        Ok(join_right(hashes.into_iter().rev()))
    }

    /// The largest complete subtrees that it consists of, from left to right: one for each bit of its length.
    fn complete_subtrees(self) -> impl Iterator<Item = CompleteSubtree> {
        subtrees_between(self.first, self.end)
    }
}

impl CompleteSubtree {
    /// The largest one that begins at the leaf `first` and ends before `end`; `None` if nothing is between them.
    pub(crate) fn largest_between(first: u64, end: u64) -> Option<Self> {
        let height = end.checked_sub(first)?.checked_ilog2()?.min(first.trailing_zeros());
        Some(Self { height, index: first >> height })
    }

    pub const fn height(self) -> u32 {
        self.height
    }

    /// The index of the leaf after its last.
    pub(crate) const fn end(self) -> u64 {
        (self.index + 1) << self.height
    }

    /// The level of the tile that has its leaves, or the lowest hashes that the tiles have of it.
    const fn level(self) -> u32 {
        self.height / TILE_HEIGHT
    }

    /// The first of its hashes among those of the level, and how many it has.
    const fn hashes(self) -> (u64, u64) {
        let height_in_tile = self.height % TILE_HEIGHT;
        (self.index << height_in_tile, 1 << height_in_tile)
    }

    /// The tile of a tree of this size that its hash follows from; `None` if it is not in the tree.
    pub fn tile(self, size: u64) -> Option<TileId> {
        let (first, _) = self.hashes();
        TileId::in_tree(size, u8::try_from(self.level()).ok()?, first / u64::from(TILE_WIDTH))
    }

    /// Its hash in a tree of this size. The error is the tile that is missing; `None` if the subtree is not in the tree.
    pub(crate) fn hash(self, size: u64, tiles: &Tiles) -> Result<Hash, Option<TileId>> {
        let id = self.tile(size).ok_or(None)?;
        if let Some(nodes) = tiles.nodes(id) {
            return self.node_among(nodes).ok_or(Some(id));
        }
        tiles.hashes(id).and_then(|hashes| self.hash_among(hashes)).ok_or(Some(id))
    }

    /// Its hash, from the nodes of its tile.
    fn node_among(self, nodes: &TileNodes) -> Option<Hash> {
        let height = self.height % TILE_HEIGHT;
        nodes.node(height, usize::try_from(self.index % (u64::from(TILE_WIDTH) >> height)).ok()?)
    }

    /// Its hash, from the hashes of [its tile](Self::tile); `None` if these are of a narrower tile.
    pub fn hash_among(self, hashes: &[Hash]) -> Option<Hash> {
        let (first, len) = self.hashes();
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        hashes.get(start..end).map(root_of_complete)
    }
}

/// The complete subtrees between two leaves that are shown, from left to right: those from leaf `first` on, up to `end`.
pub fn subtrees_between(first: u64, end: u64) -> impl Iterator<Item = CompleteSubtree> {
    let mut next = first;
    iter::from_fn(move || {
        let subtree = CompleteSubtree::largest_between(next, end)?;
        next = subtree.end();
        Some(subtree)
    })
}

/// The root over a power of two of hashes, at most 256.
pub fn root_of_complete(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::EMPTY_ROOT,
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Hash::of_children(&root_of_complete(left), &root_of_complete(right))
        }
    }
}

/// The root over complete subtrees, each larger than the one before it, which is to its right.
pub fn join_right(from_the_right: impl Iterator<Item = Hash>) -> Hash {
    from_the_right.reduce(|right, left| Hash::of_children(&left, &right)).unwrap_or(Hash::EMPTY_ROOT)
}

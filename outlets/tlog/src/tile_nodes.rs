//! A full tile with the nodes above its hashes. A proof takes up to 247 hashes of a full tile if the nodes have to be made of it.

use std::sync::Arc;

use crate::hash::Hash;
use crate::tile::{TILE_HEIGHT, Tile, TileId};
use crate::tile_path::TILE_WIDTH;

/// The nodes that a full tile has below its root, its own hashes included.
const NODES: usize = 2 * (TILE_WIDTH as usize - 1);

/// A full tile with all nodes below its root. Cheap to clone; it takes 16 KiB, twice as much as the tile.
#[derive(Clone, Debug)]
pub struct TileNodes {
    id: TileId,
    /// The hashes of the tile, then the nodes of each height above them.
    nodes: Arc<[Hash]>,
}

impl TileNodes {
    /// Makes the nodes of a tile; `None` if it is partial.
    pub fn of(tile: &Tile) -> Option<Self> {
        if tile.id().is_partial() {
            return None;
        }
        let mut nodes = tile.hashes().to_vec();
        nodes.reserve_exact(NODES - nodes.len());
        let mut below = 0;
        while nodes.len() < NODES {
            let node = Hash::of_children(nodes.get(below)?, nodes.get(below + 1)?);
            nodes.push(node);
            below += 2;
        }
        Some(Self { id: tile.id(), nodes: nodes.into() })
    }

    pub const fn id(&self) -> TileId {
        self.id
    }

    /// The root over its hashes, which is one of the hashes of the level above.
    pub fn root(&self) -> Hash {
        match &*self.nodes {
            [.., left, right] => Hash::of_children(left, right),
            [] | [_] => Hash::EMPTY_ROOT,
        }
    }

    /// The hashes of the tile.
    pub(crate) fn hashes(&self) -> &[Hash] {
        &self.nodes[..usize::from(TILE_WIDTH)]
    }

    /// The node of a height above the tile's hashes, by its number among those of this height in the tile; `None` if there is none below
    /// the root.
    pub(crate) fn node(&self, height: u32, index: usize) -> Option<Hash> {
        let width = usize::from(TILE_WIDTH >> height.min(TILE_HEIGHT));
        // All nodes of lower heights come first.
        let first = 2 * (usize::from(TILE_WIDTH) - width);
        (index < width).then(|| self.nodes.get(first + index).copied()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subtree::root_of_complete;

    #[test]
    fn each_node_is_the_root_over_its_hashes() {
        let hashes: Vec<Hash> = (0..TILE_WIDTH).map(|number| Hash::of_leaf(&number.to_be_bytes())).collect();
        let tile = Tile::new(TileId::full(1, 3), hashes.clone());
        let nodes = TileNodes::of(&tile).expect("it is full");
        assert_eq!((nodes.id(), nodes.hashes()), (tile.id(), hashes.as_slice()));
        for height in 0..TILE_HEIGHT {
            let len = 1 << height;
            for (index, over) in hashes.chunks(len).enumerate() {
                assert_eq!(nodes.node(height, index), Some(root_of_complete(over)), "{height} {index}");
            }
            assert_eq!(nodes.node(height, hashes.len() / len), None);
        }
        assert_eq!(nodes.node(TILE_HEIGHT, 0), None, "the root is a hash of the tile above");
        assert_eq!(nodes.root(), root_of_complete(&hashes));
        let narrower = TileId::new(1, 3, 2).expect("an id");
        assert!(TileNodes::of(&Tile::new(narrower, hashes[..2].to_vec())).is_none());
    }
}

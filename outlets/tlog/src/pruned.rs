//! A tree of which only some leaves are shown. What is between them stands as the hashes of complete subtrees, so that the root
//! follows from it in one pass, with fewer hashes than a proof for each leaf would take.

use crate::hash::Hash;
use crate::subtree::join_right;
use crate::tree_head::{SIZE_MAX, TreeHead};

/// A subtree cannot be where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a subtree of height {height} cannot begin after {size} leaves")]
pub struct Misplaced {
    pub size: u64,
    pub height: u32,
}

/// The beginning of a tree, as the roots of the complete subtrees that it consists of, from left to right.
#[derive(Clone, Debug, Default)]
pub struct PrunedTree {
    size: u64,
    /// Each with its height, which falls from left to right.
    subtrees: Vec<(u32, Hash)>,
}

impl PrunedTree {
    pub fn new() -> Self {
        Self::default()
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next subtree. A leaf has the height 0.
    pub fn add(&mut self, height: u32, hash: Hash) -> Result<(), Misplaced> {
        let misplaced = Misplaced { size: self.size, height };
        let leaves = 1_u64.checked_shl(height).ok_or(misplaced)?;
        if !self.size.is_multiple_of(leaves) {
            return Err(misplaced);
        }
        self.size = self.size.checked_add(leaves).filter(|size| *size <= SIZE_MAX).ok_or(misplaced)?;
        let mut made = (height, hash);
        while let Some((height, left)) = self.subtrees.pop_if(|(height, _)| *height == made.0) {
            made = (height + 1, Hash::of_children(&left, &made.1));
        }
        self.subtrees.push(made);
        Ok(())
    }

    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: join_right(self.subtrees.iter().rev().map(|(_, hash)| *hash)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subtree::subtrees_between;
    use crate::tiles::Tiles;
    use crate::tree::Tree;

    const SIZES: [u64; 9] = [0, 1, 2, 3, 255, 256, 257, 1000, 70_001];

    fn leaf(index: u64) -> Hash {
        Hash::of_leaf(&index.to_be_bytes())
    }

    fn tree(size: u64) -> (TreeHead, Tiles) {
        let (mut tree, mut tiles) = (Tree::new(), Vec::new());
        for index in 0..size {
            tree.append(leaf(index), &mut tiles).expect("room");
        }
        let partial = tree.partial_tiles_since(0);
        (tree.head(), tiles.into_iter().chain(partial).collect())
    }

    #[test]
    fn the_root_follows_from_any_leaves_and_what_is_between_them() {
        for size in SIZES {
            let (head, tiles) = tree(size);
            for step in [1, 2, 3, 7, 100, 256, 1 << 20] {
                let (mut pruned, mut shown, mut hidden) = (PrunedTree::new(), 0, 0_u64);
                let mut hide = |first, end, pruned: &mut PrunedTree| {
                    for subtree in subtrees_between(first, end) {
                        hidden += 1;
                        let hash = subtree.hash(size, &tiles).expect("tiles");
                        pruned.add(subtree.height(), hash).expect("in its place");
                    }
                };
                for index in (0..size).step_by(step) {
                    hide(pruned.size(), index, &mut pruned);
                    pruned.add(0, leaf(index)).expect("in its place");
                    shown += 1;
                }
                hide(pruned.size(), size, &mut pruned);
                assert_eq!(pruned.head(), head, "{size}, every {step}");
                assert!(hidden <= (shown + 1) * 2 * 17, "{hidden} hashes between {shown} leaves of {size}");
            }
        }
    }

    #[test]
    fn a_subtree_begins_at_a_multiple_of_its_leaves() {
        let mut pruned = PrunedTree::new();
        pruned.add(1, leaf(0)).expect("at the beginning");
        pruned.add(0, leaf(1)).expect("a leaf is anywhere");
        for height in [1, 2, 63, 64, u32::MAX] {
            assert_eq!(pruned.add(height, leaf(2)), Err(Misplaced { size: 3, height }));
        }
        let mut pruned = PrunedTree::new();
        pruned.add(62, leaf(0)).expect("half of the largest tree");
        pruned.add(62, leaf(0)).map_or_else(|refused| assert_eq!(refused.size, 1 << 62), |()| panic!("too large"));
    }
}

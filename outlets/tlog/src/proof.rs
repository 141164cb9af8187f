//! Proofs that an entry is in a tree, and that a tree continues an older one (RFC 6962, sections 2.1.1 and 2.1.2). They are made
//! from tiles and checked from hashes alone, with the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//!
//! A proof needs few tiles. `tiles_of_…` lists them, so that you can fetch them all at once, and then make the proof. What you make
//! of tiles that come from elsewhere is a proof only if it verifies.

use crate::hash::Hash;
use crate::subtree::Subtree;
use crate::tile::TileId;
use crate::tiles::Tiles;
use crate::tree_head::{SIZE_MAX, TreeHead};

/// No proof of a tree has more hashes.
pub const PROOF_HASHES_MAX: usize = 63;

/// A proof cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("leaf {index} is not in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shrinks { old: u64, new: u64 },
    #[error("a tree has at most 2^63 - 1 leaves, not {size}")]
    TooLarge { size: u64 },
    #[error("{0} is missing")]
    MissingTile(TileId),
}

/// A proof does not prove what it is said to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    #[error("leaf {index} is not in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shrinks { old: u64, new: u64 },
    #[error("the proof has {hashes} hashes, which is not the number that its sizes take")]
    WrongLength { hashes: usize },
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// The tiles that [`root`] reads.
pub fn tiles_of_root(size: u64) -> Result<Vec<TileId>, ProofError> {
    Ok(tiles_of(&[whole(size)?], size))
}

/// The tiles that [`inclusion_proof`] reads.
pub fn tiles_of_inclusion(index: u64, size: u64) -> Result<Vec<TileId>, ProofError> {
    Ok(tiles_of(&inclusion_path(index, size)?, size))
}

/// The tiles that [`consistency_proof`] reads.
pub fn tiles_of_consistency(old: u64, new: u64) -> Result<Vec<TileId>, ProofError> {
    Ok(tiles_of(&consistency_path(old, new)?, new))
}

/// The root of the tree of this size. It shows that the tiles belong to a checkpoint, if it is the checkpoint's.
pub fn root(size: u64, tiles: &Tiles) -> Result<Hash, ProofError> {
    hash_of(whole(size)?, size, tiles)
}

/// The hashes that prove leaf `index` of a tree of this size, from the leaf's sibling upwards.
pub fn inclusion_proof(index: u64, size: u64, tiles: &Tiles) -> Result<Vec<Hash>, ProofError> {
    inclusion_path(index, size)?.into_iter().map(|subtree| hash_of(subtree, size, tiles)).collect()
}

/// The hashes that prove that a tree of size `new` continues one of size `old`. There are none if `old` is 0, or `new`.
pub fn consistency_proof(old: u64, new: u64, tiles: &Tiles) -> Result<Vec<Hash>, ProofError> {
    consistency_path(old, new)?.into_iter().map(|subtree| hash_of(subtree, new, tiles)).collect()
}

/// Checks that leaf `index` of the tree has this hash.
pub fn verify_inclusion(index: u64, leaf: &Hash, head: &TreeHead, proof: &[Hash]) -> Result<(), InvalidProof> {
    let wrong_length = InvalidProof::WrongLength { hashes: proof.len() };
    if index >= head.size {
        return Err(InvalidProof::NoSuchLeaf { index, size: head.size });
    }
    // The names of the RFC: the position of the node, and that of the last node of its height.
    let (mut f_n, mut s_n) = (index, head.size - 1);
    let mut node = *leaf;
    for sibling in proof {
        if s_n == 0 {
            return Err(wrong_length);
        }
        if f_n & 1 == 1 || f_n == s_n {
            node = Hash::of_children(sibling, &node);
            skip_heights_without_sibling(&mut f_n, &mut s_n);
        } else {
            node = Hash::of_children(&node, sibling);
        }
        (f_n, s_n) = (f_n >> 1, s_n >> 1);
    }
    match s_n {
        0 if node == head.root => Ok(()),
        0 => Err(InvalidProof::OtherRoot),
        _ => Err(wrong_length),
    }
}

/// Checks that the tree of `new` begins with all leaves of the tree of `old`.
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), InvalidProof> {
    let wrong_length = InvalidProof::WrongLength { hashes: proof.len() };
    if old.size > new.size {
        return Err(InvalidProof::Shrinks { old: old.size, new: new.size });
    }
    if old.size == new.size || old.size == 0 {
        // Every tree continues the empty one, which has one root.
        let root = if old.size == 0 { Hash::EMPTY_ROOT } else { new.root };
        let is_empty_new = new.size > 0 || new.root == Hash::EMPTY_ROOT;
        return match proof {
            [] if old.root == root && is_empty_new => Ok(()),
            [] => Err(InvalidProof::OtherRoot),
            _ => Err(wrong_length),
        };
    }
    // A complete old tree is a node of the new one, and its root is left out of the proof.
    let (start, rest) = if old.size.is_power_of_two() {
        (old.root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(wrong_length)?;
        (*first, rest)
    };
    let (mut f_n, mut s_n) = (old.size - 1, new.size - 1);
    let ones = f_n.trailing_ones();
    (f_n, s_n) = (f_n >> ones, s_n >> ones);
    let (mut old_node, mut new_node) = (start, start);
    for sibling in rest {
        if s_n == 0 {
            return Err(wrong_length);
        }
        if f_n & 1 == 1 || f_n == s_n {
            old_node = Hash::of_children(sibling, &old_node);
            new_node = Hash::of_children(sibling, &new_node);
            skip_heights_without_sibling(&mut f_n, &mut s_n);
        } else {
            new_node = Hash::of_children(&new_node, sibling);
        }
        (f_n, s_n) = (f_n >> 1, s_n >> 1);
    }
    match s_n {
        0 if old_node == old.root && new_node == new.root => Ok(()),
        0 => Err(InvalidProof::OtherRoot),
        _ => Err(wrong_length),
    }
}

/// The last node of a height has no sibling there if it is a left one: it moves up as it is.
fn skip_heights_without_sibling(f_n: &mut u64, s_n: &mut u64) {
    while *f_n & 1 == 0 && *f_n != 0 {
        (*f_n, *s_n) = (*f_n >> 1, *s_n >> 1);
    }
}

fn whole(size: u64) -> Result<Subtree, ProofError> {
    if size > SIZE_MAX { Err(ProofError::TooLarge { size }) } else { Ok(Subtree::whole(size)) }
}

/// The siblings of the nodes between the leaf and the root: PATH of RFC 6962.
fn inclusion_path(index: u64, size: u64) -> Result<Vec<Subtree>, ProofError> {
    let mut subtree = whole(size)?;
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let mut path = Vec::new();
    while let Some((left, right)) = subtree.split() {
        let (inside, sibling) = if left.contains(index) { (left, right) } else { (right, left) };
        path.push(sibling);
        subtree = inside;
    }
    path.reverse();
    Ok(path)
}

/// PROOF of RFC 6962: what the old tree consists of, and what comes to its right.
fn consistency_path(old: u64, new: u64) -> Result<Vec<Subtree>, ProofError> {
    let mut subtree = whole(new)?;
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    let mut path = Vec::new();
    if old == 0 {
        return Ok(path);
    }
    let last = old - 1;
    // As long as some of it is new.
    while subtree.contains(old)
        && let Some((left, right)) = subtree.split()
    {
        let (inside, sibling) = if left.contains(last) { (left, right) } else { (right, left) };
        path.push(sibling);
        subtree = inside;
    }
    // The whole old tree is left out: who checks the proof knows its root.
    if subtree.len() < old {
        path.push(subtree);
    }
    path.reverse();
    Ok(path)
}

fn tiles_of(path: &[Subtree], size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    for subtree in path {
        subtree.add_tiles(size, &mut tiles);
    }
    tiles.sort_unstable();
    tiles.dedup();
    tiles
}

fn hash_of(subtree: Subtree, size: u64, tiles: &Tiles) -> Result<Hash, ProofError> {
    // Paths are within their tree, so that each of their subtrees has its tiles.
    subtree.hash(size, tiles).map_err(|missing| missing.map_or(ProofError::TooLarge { size }, ProofError::MissingTile))
}

//! Merkle trees as RFC 6962 defines them, word for word: recursive, over all leaves, with another implementation of SHA-256.

use sha2::{Digest, Sha256};

pub type Bytes32 = [u8; 32];

pub fn leaf(entry: &[u8]) -> Bytes32 {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node(left: Bytes32, right: Bytes32) -> Bytes32 {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The largest power of two that is less than n.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// MTH, section 2.1.
pub fn root(leaves: &[Bytes32]) -> Bytes32 {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// PATH, section 2.1.1.
pub fn path(m: usize, leaves: &[Bytes32]) -> Vec<Bytes32> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = if m < k { (path(m, left), root(right)) } else { (path(m - k, right), root(left)) };
    path.push(sibling);
    path
}

/// PROOF, section 2.1.2.
pub fn proof(m: usize, leaves: &[Bytes32]) -> Vec<Bytes32> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[Bytes32], is_whole: bool) -> Vec<Bytes32> {
    if m == leaves.len() {
        return if is_whole { Vec::new() } else { vec![root(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) =
        if m <= k { (subproof(m, left, is_whole), root(right)) } else { (subproof(m - k, right, false), root(left)) };
    proof.push(sibling);
    proof
}

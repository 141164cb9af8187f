//! Roots and proofs against the crate `ct-merkle`, whose trees have no tiles.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use tlog::{
    Hash, TreeHead, consistency_proof, inclusion_proof, tiles_of_consistency, tiles_of_inclusion, verify_consistency,
    verify_inclusion,
};

use crate::published::{PublishedLog, entry, leaf};

type TheirTree = MemoryBackedTree<Sha256, Vec<u8>>;

fn their_tree(size: u64) -> TheirTree {
    let mut tree = TheirTree::new();
    (0..size).for_each(|index| tree.push(entry(index)));
    tree
}

fn head(tree: &TheirTree) -> TreeHead {
    let root: [u8; 32] = (*tree.root().as_bytes()).into();
    TreeHead { size: tree.len(), root: Hash::from_bytes(root) }
}

fn their_root(head: &TreeHead) -> RootHash<Sha256> {
    RootHash::new((*head.root.as_bytes()).into(), head.size)
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks().0.iter().copied().map(Hash::from_bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn proofs_are_theirs_and_verify_with_each_other(old in 1..1500_u64, more in 1..1500_u64, at in any::<prop::sample::Index>()) {
        let size = old + more;
        let place = at.index(usize::try_from(size).expect("few"));
        let index = place as u64;
        let (log, theirs) = (PublishedLog::at([old, size]), their_tree(size));
        let (old_head, new_head) = (head(&their_tree(old)), head(&theirs));
        prop_assert_eq!(new_head, log.tree.head());

        let tiles = log.fetch(&tiles_of_inclusion(index, size).expect("it is in the tree"));
        let ours = inclusion_proof(index, size, &tiles).expect("the tiles are there");
        let proof = InclusionProof::try_from_bytes(bytes(&ours)).expect("a proof");
        prop_assert!(their_root(&new_head).verify_inclusion(&entry(index), index, &proof).is_ok());
        let proof = hashes(theirs.prove_inclusion(place).as_bytes());
        prop_assert_eq!(verify_inclusion(index, &leaf(index), &new_head, &proof), Ok(()));

        let tiles = log.fetch(&tiles_of_consistency(old, size).expect("it grows"));
        let ours = consistency_proof(old, size, &tiles).expect("the tiles are there");
        let proof = ConsistencyProof::try_from_bytes(bytes(&ours)).expect("a proof");
        prop_assert!(their_root(&new_head).verify_consistency(&their_root(&old_head), &proof).is_ok());
        let proof = hashes(theirs.prove_consistency(usize::try_from(more).expect("few")).as_bytes());
        prop_assert_eq!(verify_consistency(&old_head, &new_head, &proof), Ok(()));
    }
}

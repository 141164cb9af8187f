//! Trees, tiles and proofs, compared with the model of the RFC.

use proptest::prelude::*;
use tlog::{
    Hash, InvalidProof, MalformedPath, ProofError, RestoreError, SIZE_MAX, Tile, TileId, Tiles, Tree, TreeFull,
    TreeHead, consistency_proof, inclusion_proof, parse_entries, partial_tiles, root, tiles_of_consistency,
    tiles_of_inclusion, tiles_of_root, verify_consistency, verify_inclusion,
};

use crate::model::{self, Bytes32};
use crate::published::{PublishedLog, entry, leaf};

const SIZE_OF_TESTS: u64 = 3000;

fn leaves(size: u64) -> Vec<Bytes32> {
    (0..size).map(|index| model::leaf(&entry(index))).collect()
}

fn hashes(bytes: Vec<Bytes32>) -> Vec<Hash> {
    bytes.into_iter().map(Hash::from_bytes).collect()
}

fn model_head(leaves: &[Bytes32]) -> TreeHead {
    TreeHead { size: leaves.len() as u64, root: Hash::from_bytes(model::root(leaves)) }
}

fn at(index: u64) -> usize {
    usize::try_from(index).expect("few")
}

/// Sizes at which something begins or ends are as likely as all others.
fn sizes() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![0, 1, 2, 3, 127, 128, 129, 255, 256, 257, 511, 512, 513, 2047, 2048, 2049]);
    prop_oneof![edges, 0..=SIZE_OF_TESTS, 0..=20_u64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_has_the_models_root_however_it_grew(mut steps in prop::collection::vec(sizes(), 1..6)) {
        steps.sort_unstable();
        let log = PublishedLog::at(steps.iter().copied());
        let leaves = leaves(log.tree.size());
        prop_assert_eq!(log.tree.head(), model_head(&leaves));
        for size in steps {
            let head = model_head(&leaves[..at(size)]);
            let tiles = log.fetch(&tiles_of_root(size).expect("a size"));
            prop_assert_eq!(root(size, &tiles), Ok(head.root));
            prop_assert_eq!(tiles_of_root(size).expect("a size"), partial_tiles(size));
        }
    }

    /// From any size at which it has published a checkpoint.
    #[test]
    fn a_restored_tree_grows_on_as_if_it_had_never_stopped(first in sizes(), more in sizes()) {
        let mut log = PublishedLog::at([first]);
        let head = log.tree.head();
        let tiles = log.fetch(&partial_tiles(first));
        let mut restored = PublishedLog { tree: Tree::restore(&head, &tiles).expect("it is whole"), files: log.files.clone() };
        prop_assert_eq!(log.grow_to(first + more), restored.grow_to(first + more));
        prop_assert_eq!(&log.files, &restored.files);
    }

    #[test]
    fn an_inclusion_proof_is_the_models_path(size in sizes(), fraction in any::<prop::sample::Index>()) {
        prop_assume!(size > 0);
        let index = fraction.index(at(size)) as u64;
        let (log, leaves) = (PublishedLog::at([size]), leaves(size));
        let needed = tiles_of_inclusion(index, size).expect("it is in the tree");
        let proof = inclusion_proof(index, size, &log.fetch(&needed)).expect("the tiles are there");
        prop_assert_eq!(&proof, &hashes(model::path(at(index), &leaves)));
        prop_assert_eq!(inclusion_proof(index, size, &log.fetch_with_nodes(&needed)), Ok(proof.clone()));
        prop_assert_eq!(verify_inclusion(index, &leaf(index), &log.tree.head(), &proof), Ok(()));
        each_tile_is_needed(&log, &needed, |tiles| inclusion_proof(index, size, tiles))?;
    }

    #[test]
    fn a_consistency_proof_is_the_models(one in sizes(), other in sizes()) {
        let (old, new) = (one.min(other), one.max(other));
        let (log, leaves) = (PublishedLog::at([old, new]), leaves(new));
        let needed = tiles_of_consistency(old, new).expect("it grows");
        let proof = consistency_proof(old, new, &log.fetch(&needed)).expect("the tiles are there");
        let expected = if old == 0 { Vec::new() } else { hashes(model::proof(at(old), &leaves)) };
        prop_assert_eq!(&proof, &expected);
        prop_assert_eq!(consistency_proof(old, new, &log.fetch_with_nodes(&needed)), Ok(proof.clone()));
        prop_assert_eq!(verify_consistency(&model_head(&leaves[..at(old)]), &model_head(&leaves), &proof), Ok(()));
        each_tile_is_needed(&log, &needed, |tiles| consistency_proof(old, new, tiles))?;
    }

    #[test]
    fn what_is_added_to_or_taken_from_a_proof_is_noticed(one in sizes(), other in sizes(), extra in any::<[u8; 32]>()) {
        let (old, new) = (one.min(other), one.max(other));
        prop_assume!(new > 0);
        let log = PublishedLog::at([old, new]);
        let (old_head, head) = (model_head(&leaves(old)), log.tree.head());
        let index = old.min(new - 1);
        let tiles = log.fetch(&[tiles_of_inclusion(index, new), tiles_of_consistency(old, new)].map(Result::unwrap).concat());
        let inclusion = inclusion_proof(index, new, &tiles).expect("the tiles are there");
        let consistency = consistency_proof(old, new, &tiles).expect("the tiles are there");
        for changed in altered(&inclusion, Hash::from_bytes(extra)) {
            prop_assert!(verify_inclusion(index, &leaf(index), &head, &changed).is_err());
        }
        for changed in altered(&consistency, Hash::from_bytes(extra)) {
            prop_assert!(verify_consistency(&old_head, &head, &changed).is_err());
        }
        prop_assert!(verify_inclusion(index, &leaf(index + 1), &head, &inclusion).is_err());
        if new > 1 {
            prop_assert!(verify_inclusion((index + 1) % new, &leaf(index), &head, &inclusion).is_err());
        }
    }

    /// Also where no such tree can exist.
    #[test]
    fn any_sizes_and_any_hashes_are_checked_without_a_panic(
        index in any::<u64>(), old in any::<u64>(), new in any::<u64>(), proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let (proof, root) = (hashes(proof), Hash::EMPTY_ROOT);
        let (old_head, head) = (TreeHead { size: old, root }, TreeHead { size: new, root });
        prop_assert!(verify_inclusion(index, &root, &head, &proof).is_err());
        prop_assert!(verify_consistency(&old_head, &head, &proof).is_err());
        for tiles in [tiles_of_root(new), tiles_of_inclusion(index, new), tiles_of_consistency(old, new)] {
            prop_assert!(tiles.is_err() || tiles.is_ok_and(|tiles| tiles.len() <= 16));
        }
        let _ = (Tree::restore(&head, &Tiles::new()), TileId::in_tree(new, 7, index));
    }
}

/// The proof without one of its hashes, with one more at each place, and with two of them swapped.
fn altered(proof: &[Hash], extra: Hash) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for place in 0..=proof.len() {
        let mut longer = proof.to_vec();
        longer.insert(place, extra);
        all.push(longer);
    }
    for place in 0..proof.len() {
        let mut shorter = proof.to_vec();
        shorter.remove(place);
        all.push(shorter);
        let mut swapped = proof.to_vec();
        swapped.swap(0, place);
        all.extend((swapped != proof).then_some(swapped));
    }
    all
}

/// Nothing is listed that is not read.
fn each_tile_is_needed(
    log: &PublishedLog,
    needed: &[TileId],
    make: impl Fn(&Tiles) -> Result<Vec<Hash>, ProofError>,
) -> Result<(), TestCaseError> {
    for missing in needed {
        let others: Vec<TileId> = needed.iter().copied().filter(|id| id != missing).collect();
        prop_assert_eq!(make(&log.fetch(&others)), Err(ProofError::MissingTile(*missing)));
    }
    Ok(())
}

/// Every pair of sizes, where mistakes at the edges would be.
#[test]
fn all_proofs_of_small_trees_are_the_models() {
    let leaves = leaves(40);
    let log = PublishedLog::at(0..=40);
    let tiles: Tiles = (1..=40).map(|size| log.tile(TileId::in_tree(size, 0, 0).expect("a tile"))).collect();
    for new in 0..=40 {
        let head = model_head(&leaves[..at(new)]);
        for old in 0..=new {
            let proof = consistency_proof(old, new, &tiles).expect("the tiles are there");
            let expected = if old == 0 { Vec::new() } else { hashes(model::proof(at(old), &leaves[..at(new)])) };
            assert_eq!(proof, expected, "{old} to {new}");
            assert_eq!(verify_consistency(&model_head(&leaves[..at(old)]), &head, &proof), Ok(()), "{old} to {new}");
        }
        for index in 0..new {
            let proof = inclusion_proof(index, new, &tiles).expect("the tiles are there");
            assert_eq!(proof, hashes(model::path(at(index), &leaves[..at(new)])), "{index} of {new}");
            assert_eq!(verify_inclusion(index, &leaf(index), &head, &proof), Ok(()), "{index} of {new}");
        }
    }
}

#[test]
fn a_log_of_a_second_level_is_read_from_few_tiles() {
    const SIZE: u64 = 70_000;
    let log = PublishedLog::at([65_537, SIZE]);
    let leaves = leaves(SIZE);
    assert_eq!(log.tree.head(), model_head(&leaves));
    for index in [0, 255, 256, 65_535, 65_536, SIZE - 1] {
        let needed = tiles_of_inclusion(index, SIZE).expect("it is in the tree");
        assert!(needed.len() <= 5, "{needed:?}");
        let proof = inclusion_proof(index, SIZE, &log.fetch(&needed)).expect("the tiles are there");
        assert_eq!(proof, hashes(model::path(at(index), &leaves)), "{index}");
    }
    let needed = tiles_of_consistency(65_537, SIZE).expect("it grows");
    let proof = consistency_proof(65_537, SIZE, &log.fetch(&needed)).expect("the tiles are there");
    assert_eq!(proof, hashes(model::proof(65_537, &leaves)));
    let restored = Tree::restore(&log.tree.head(), &log.fetch(&partial_tiles(SIZE))).expect("it is whole");
    assert_eq!((restored.head(), restored.partial_tiles_since(0)), (log.tree.head(), log.tree.partial_tiles_since(0)));
}

#[test]
fn the_entries_of_a_bundle_have_the_hashes_of_its_tile() {
    let log = PublishedLog::at([600]);
    for (path, width) in [("000", 256_usize), ("001", 256), ("002.p/88", 88)] {
        let bundle = format!("tile/entries/{path}").parse().expect("a path");
        let entries = parse_entries(bundle, &log.files[&bundle.to_string()]).expect("entries");
        let hashes: Vec<Hash> = entries.into_iter().map(Hash::of_leaf).collect();
        let tile = log.tile(format!("tile/0/{path}").parse().expect("a path"));
        assert_eq!((hashes.len(), &hashes[..]), (width, tile.hashes()));
    }
}

#[test]
fn a_tree_is_restored_only_from_the_tiles_of_its_checkpoint() {
    let log = PublishedLog::at([70_000]);
    let (head, needed) = (log.tree.head(), partial_tiles(70_000));
    for missing in &needed {
        let others: Vec<TileId> = needed.iter().copied().filter(|id| id != missing).collect();
        assert_eq!(Tree::restore(&head, &log.fetch(&others)).err(), Some(RestoreError::MissingTile(*missing)));
        let mut bytes = log.files[&missing.to_string()].clone();
        bytes[0] ^= 1;
        let mut tiles = log.fetch(&others);
        tiles.insert(Tile::parse(*missing, &bytes).expect("a tile"));
        let refusal = Tree::restore(&head, &tiles).err();
        assert!(matches!(refusal, Some(RestoreError::OtherRoot { size: 70_000, .. })), "{refusal:?}");
    }
}

/// A partial tile may have been deleted when the full one was there.
#[test]
fn a_full_tile_serves_for_a_partial_one() {
    let mut log = PublishedLog::at([100, 300]);
    let id = TileId::in_tree(100, 0, 0).expect("a tile");
    log.files.remove(&id.to_string()).expect("it was there");
    let full = log.fetch(&[TileId::in_tree(300, 0, 0).expect("a tile")]);
    assert_eq!(root(100, &full), Ok(model_head(&leaves(100)).root));
    assert_eq!(root(100, &Tiles::new()), Err(ProofError::MissingTile(id)));
    // In whichever order they were fetched.
    let mut both = full.clone();
    both.insert(PublishedLog::at([100]).tile(id));
    assert_eq!(both.hashes(TileId::in_tree(300, 0, 0).expect("a tile")).map(<[Hash]>::len), Some(256));
}

#[test]
fn a_tree_ends_at_its_largest_size() {
    // A tree whose partial tiles were made up: all that is checked is that they have the root.
    let size = SIZE_MAX - 1;
    let tiles: Tiles = partial_tiles(size)
        .into_iter()
        .map(|id| Tile::parse(id, &vec![7; usize::from(id.width()) * 32]).expect("a tile"))
        .collect();
    let head = TreeHead { size, root: root(size, &tiles).expect("the tiles are there") };
    let mut tree = Tree::restore(&head, &tiles).expect("it is whole");
    let mut completed = Vec::new();
    assert_eq!(tree.append(Hash::EMPTY_ROOT, &mut completed), Ok(()));
    assert_eq!(tree.append(Hash::EMPTY_ROOT, &mut completed), Err(TreeFull));
    assert_eq!((tree.size(), completed.len()), (SIZE_MAX, 0));
    assert_eq!(inclusion_proof(0, SIZE_MAX + 1, &tiles), Err(ProofError::TooLarge { size: SIZE_MAX + 1 }));
}

/// Even if whoever made the root made it for such a proof.
#[test]
fn a_proof_is_as_long_as_its_sizes_say() {
    let (leaf, more) = (leaf(0), leaf(1));
    let parent = Hash::of_children(&more, &leaf);
    let head = TreeHead { size: 1, root: parent };
    assert_eq!(verify_inclusion(0, &leaf, &head, &[more]), Err(InvalidProof::WrongLength { hashes: 1 }));
    let head = TreeHead { size: 3, root: Hash::of_children(&leaf, &more) };
    assert_eq!(verify_inclusion(0, &leaf, &head, &[more]), Err(InvalidProof::WrongLength { hashes: 1 }));
    let (old, new) = (TreeHead { size: 1, root: leaf }, TreeHead { size: 2, root: Hash::of_children(&leaf, &more) });
    assert_eq!(verify_consistency(&old, &new, &[more]), Ok(()));
    assert_eq!(verify_consistency(&old, &new, &[more, more]), Err(InvalidProof::WrongLength { hashes: 2 }));
    assert_eq!(verify_consistency(&old, &new, &[]), Err(InvalidProof::WrongLength { hashes: 0 }));
    assert_eq!(verify_consistency(&old, &old, &[more]), Err(InvalidProof::WrongLength { hashes: 1 }));
    assert_eq!(verify_consistency(&TreeHead::EMPTY, &new, &[more]), Err(InvalidProof::WrongLength { hashes: 1 }));
}

#[test]
fn what_is_not_in_a_tree_has_no_proof() {
    let (head, tiles) = (PublishedLog::at([5]).tree.head(), Tiles::new());
    assert_eq!(inclusion_proof(5, 5, &tiles), Err(ProofError::NoSuchLeaf { index: 5, size: 5 }));
    assert_eq!(consistency_proof(6, 5, &tiles), Err(ProofError::Shrinks { old: 6, new: 5 }));
    assert_eq!(verify_inclusion(5, &leaf(5), &head, &[]), Err(InvalidProof::NoSuchLeaf { index: 5, size: 5 }));
    assert_eq!(verify_consistency(&head, &TreeHead::EMPTY, &[]), Err(InvalidProof::Shrinks { old: 5, new: 0 }));
    let forged = TreeHead { size: 0, root: leaf(0) };
    assert_eq!(verify_consistency(&forged, &head, &[]), Err(InvalidProof::OtherRoot));
    assert_eq!(verify_consistency(&TreeHead::EMPTY, &forged, &[]), Err(InvalidProof::OtherRoot));
    assert_eq!(verify_consistency(&TreeHead::EMPTY, &head, &[]), Ok(()));
    assert_eq!("tile/0/x".parse::<TileId>(), Err(MalformedPath));
}

//! Tiles, checkpoints and proofs against the crate `tlog_tiles`, a port of Go's package.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tlog::{
    Checkpoint, Hash, TileId, TreeHead, consistency_proof, inclusion_proof, tiles_between, tiles_of_consistency,
    tiles_of_inclusion, verify_consistency, verify_inclusion,
};
use tlog_tiles::{Error, HashReader, Tile, TileHashReader, TileReader};

use crate::published::{PublishedLog, entry, leaf};

/// Their paths have the height of the tiles in front.
fn our_path(tile: &Tile) -> String {
    let path = tile.path();
    format!("tile/{}", path.strip_prefix("tile/8/").expect("tiles of height 8"))
}

/// Reads the files that our log has published, and nothing else.
struct OurFiles<'a>(&'a BTreeMap<String, Vec<u8>>);

impl TileReader for OurFiles<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        tiles.iter().map(|tile| self.0.get(&our_path(tile)).cloned().ok_or(Error::InvalidTile)).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| Hash::from_bytes(hash.0)).collect()
}

/// All hashes of a tree of their making.
fn their_hashes(size: u64) -> StoredHashes {
    let mut stored = StoredHashes(Vec::new());
    for index in 0..size {
        let added = tlog_tiles::stored_hashes(index, &entry(index), &stored).expect("hashes");
        stored.0.extend(added);
    }
    stored
}

struct StoredHashes(Vec<tlog_tiles::Hash>);

impl HashReader for StoredHashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).expect("few")]).collect())
    }
}

/// Paths below the height of the tiles, right ones and others.
fn paths() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,2}/(x[0-9]{3}/){0,5}[0-9]{3}(\\.p/[1-9][0-9]{0,2})?",
        "[0-7]{1,2}/(x?[0-9]{2,3}/){0,3}x?[0-9]{2,4}(\\.p/[0-9]{1,3})?"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn they_read_our_tiles_and_check_our_proofs(old in 1..2000_u64, more in 0..2000_u64, at in any::<prop::sample::Index>()) {
        let size = old + more;
        let index = at.index(usize::try_from(size).expect("few")) as u64;
        let log = PublishedLog::at([old, size]);
        let (old_head, head) = (PublishedLog::at([old]).tree.head(), log.tree.head());
        let files = OurFiles(&log.files);
        // Their reader checks each tile against the root.
        let reader = TileHashReader::new(size, theirs(head.root), &files);

        let tiles = log.fetch(&tiles_of_inclusion(index, size).expect("it is in the tree"));
        let inclusion = inclusion_proof(index, size, &tiles).expect("the tiles are there");
        prop_assert_eq!(&ours(tlog_tiles::prove_record(size, index, &reader).expect("a proof")), &inclusion);
        let proof = inclusion.iter().copied().map(theirs).collect();
        prop_assert!(tlog_tiles::check_record(&proof, size, theirs(head.root), index, theirs(leaf(index))).is_ok());

        let tiles = log.fetch(&tiles_of_consistency(old, size).expect("it grows"));
        let consistency = consistency_proof(old, size, &tiles).expect("the tiles are there");
        prop_assert_eq!(&ours(tlog_tiles::prove_tree(size, old, &reader).expect("a proof")), &consistency);
        let proof = consistency.iter().copied().map(theirs).collect();
        prop_assert!(tlog_tiles::check_tree(&proof, size, theirs(head.root), old, theirs(old_head.root)).is_ok());
    }

    #[test]
    fn we_check_the_proofs_of_their_tree(old in 1..600_u64, more in 0..600_u64, at in any::<prop::sample::Index>()) {
        let size = old + more;
        let index = at.index(usize::try_from(size).expect("few")) as u64;
        let stored = their_hashes(size);
        let head = |size| {
            let root = tlog_tiles::tree_hash(size, &stored).expect("a root");
            TreeHead { size, root: Hash::from_bytes(root.0) }
        };
        prop_assert_eq!(head(size), PublishedLog::at([size]).tree.head());
        let inclusion = ours(tlog_tiles::prove_record(size, index, &stored).expect("a proof"));
        prop_assert_eq!(verify_inclusion(index, &leaf(index), &head(size), &inclusion), Ok(()));
        let consistency = ours(tlog_tiles::prove_tree(size, old, &stored).expect("a proof"));
        prop_assert_eq!(verify_consistency(&head(old), &head(size), &consistency), Ok(()));
    }

    #[test]
    fn we_publish_the_tiles_that_they_would(old in 0..1_u64 << 40, more in 0..200_000_u64) {
        let ours: Vec<String> = tiles_between(old, old + more).map(|id| id.to_string()).collect();
        let theirs: Vec<String> = Tile::new_tiles(8, old, old + more).iter().map(our_path).collect();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn paths_are_theirs(level in 0..64_u8, index in any::<u64>(), width in 1..=256_u16) {
        let id = TileId::new(level, index, width).expect("an id");
        prop_assert_eq!(id.to_string(), our_path(&Tile::new(8, level, index, width.into(), false)));
    }

    /// Paths at which theirs panics, a width of 0 or a level of 64, are refused here.
    #[test]
    fn they_read_the_paths_that_we_read(path in paths()) {
        let ours = format!("tile/{path}").parse::<TileId>().map(|id| (id.level(), id.index(), u32::from(id.width())));
        let theirs = std::panic::catch_unwind(|| Tile::from_path(&format!("tile/8/{path}")).map_err(|_| ()));
        let theirs = theirs.ok().and_then(Result::ok).map(|tile| (tile.level(), tile.level_index(), tile.width()));
        prop_assert_eq!(ours.ok(), theirs);
    }

    #[test]
    fn checkpoints_are_theirs(size in 0..1_u64 << 62, root in any::<[u8; 32]>(), origin in "[a-z/.]{1,20}", lines in prop::collection::vec("[a-z0-9 ]{1,20}", 0..3)) {
        let head = TreeHead { size, root: Hash::from_bytes(root) };
        let checkpoint = Checkpoint::with_extensions(&origin, head, lines.clone()).expect("a checkpoint");
        let theirs = tlog_tiles::Checkpoint::from_bytes(checkpoint.to_string().as_bytes()).expect("a checkpoint");
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (&*origin, size, root));
        let written = String::from_utf8(theirs.to_bytes()).expect("UTF-8");
        prop_assert_eq!(Checkpoint::parse(&written), Ok(checkpoint));
    }
}

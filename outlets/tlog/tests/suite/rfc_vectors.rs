//! The tree, paths and proofs that implementations of Certificate Transparency have as known answers.

use tlog::{
    Hash, Tile, Tiles, Tree, TreeHead, consistency_proof, inclusion_proof, partial_tiles, verify_consistency,
    verify_inclusion,
};

const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Index, size, path.
const PATHS: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Old size, new size, proof.
const PROOFS: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hash(hex: &str) -> Hash {
    Hash::from_bytes(std::array::from_fn(|byte| u8::from_str_radix(&hex[2 * byte..][..2], 16).expect("hexadecimal")))
}

/// The head and the tiles of the tree of the first entries.
fn tree_of(size: u64) -> (TreeHead, Tiles) {
    let mut tree = Tree::new();
    for entry in ENTRIES.iter().take(usize::try_from(size).expect("few")) {
        tree.append(Hash::of_leaf(entry), &mut Vec::new()).expect("there is room");
    }
    let tiles: Vec<Tile> = tree.partial_tiles_since(0);
    assert_eq!(tiles.iter().map(Tile::id).collect::<Vec<_>>(), partial_tiles(size));
    (tree.head(), tiles.into_iter().collect())
}

#[test]
fn roots_are_the_known_ones() {
    for (size, root) in (0..).zip(ROOTS) {
        assert_eq!(tree_of(size).0, TreeHead { size, root: hash(root) });
    }
}

#[test]
fn paths_are_the_known_ones() {
    for (index, size, path) in PATHS {
        let (head, tiles) = tree_of(size);
        let path: Vec<Hash> = path.iter().copied().map(hash).collect();
        assert_eq!(inclusion_proof(index, size, &tiles), Ok(path.clone()));
        let leaf = Hash::of_leaf(ENTRIES[usize::try_from(index).expect("few")]);
        assert_eq!(verify_inclusion(index, &leaf, &head, &path), Ok(()));
    }
}

#[test]
fn proofs_are_the_known_ones() {
    for (old, new, proof) in PROOFS {
        let ((old_head, _), (head, tiles)) = (tree_of(old), tree_of(new));
        let proof: Vec<Hash> = proof.iter().copied().map(hash).collect();
        assert_eq!(consistency_proof(old, new, &tiles), Ok(proof.clone()));
        assert_eq!(verify_consistency(&old_head, &head, &proof), Ok(()));
    }
}

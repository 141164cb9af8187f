//! The formats of a transparency log, as the C2SP specifications define them. Everything here is a pure function: no I/O, no
//! clock, no random numbers. What comes from outside is parsed strictly, within limits that each module states.
//!
//! - [`Tree`] is the Merkle tree of RFC 6962. It takes the [`Hash`]es of entries and gives the root, and the [`Tile`]s to publish.
//! - [`Tiles`] are what a reader has fetched. [`inclusion_proof`] and [`consistency_proof`] make proofs of them,
//!   [`verify_inclusion`] and [`verify_consistency`] check proofs from anywhere.
//! - [`EntryBundle`] has the entries themselves.
//!
//! Specification: <https://c2sp.org/tlog-tiles>.

mod bundle;
mod decimal;
mod hash;
mod proof;
mod subtree;
mod tile;
mod tile_path;
mod tiles;
mod tree;
mod tree_head;

pub use bundle::{EntryBundle, EntryBundleId, MalformedBundle, RefusedEntry, parse_entries};
pub use hash::{HASH_BYTES, Hash, MalformedHash};
pub use proof::{
    InvalidProof, PROOF_HASHES_MAX, ProofError, consistency_proof, inclusion_proof, root, tiles_of_consistency,
    tiles_of_inclusion, tiles_of_root, verify_consistency, verify_inclusion,
};
pub use tile::{MalformedTile, TILE_WIDTH, Tile, TileId, partial_tiles, tiles_between};
pub use tile_path::MalformedPath;
pub use tiles::Tiles;
pub use tree::{RestoreError, Tree, TreeFull};
pub use tree_head::{SIZE_MAX, TreeHead};

//! The formats of a transparency log, as the C2SP specifications define them. Everything here is a pure function: no I/O, no
//! clock, no random numbers. What comes from outside is parsed strictly, within limits that each module states.
//!
//! - [`Tree`] is the Merkle tree of RFC 6962. It takes the [`Hash`]es of entries and gives the root, and the [`Tile`]s to publish.
//! - [`Tiles`] are what a reader has fetched. [`inclusion_proof`] and [`consistency_proof`] make proofs of them, faster if full tiles
//!   are there with their [`TileNodes`]; [`verify_inclusion`] and [`verify_consistency`] check proofs from anywhere.
//! - [`PrunedTree`] gives the root of a tree of which only some leaves are known, and [`subtrees_between`] what is needed beside them.
//! - [`EntryBundle`] has the entries themselves.
//! - [`Note`] is a signed text, [`SignedCheckpoint`] a note that commits to a tree. [`Signer`] signs for the log, [`Cosigner`]
//!   for a witness, and [`VerifierKey`] checks both. [`signer_key_text`] is a key that signs as text.
//! - [`TlogProof`] is a file that proves offline that an entry is in a log.
//! - [`AddCheckpoint`] asks a witness for its cosignature, [`Answer`] is what the witness says.
//!
//! `tests/suite/example.rs` publishes a log, makes a proof of an entry, and checks it.
//!
//! Specifications: <https://c2sp.org/tlog-tiles>, <https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>,
//! <https://c2sp.org/tlog-cosignature>, <https://c2sp.org/tlog-proof>, <https://c2sp.org/tlog-witness>.

mod bundle;
mod checkpoint;
mod decimal;
mod hash;
mod key;
mod note;
mod proof;
mod proof_lines;
mod pruned;
mod signer;
mod signer_key;
mod subtree;
mod tile;
mod tile_nodes;
mod tile_path;
mod tiles;
mod tlog_proof;
mod tree;
mod tree_head;
mod witness;

pub use bundle::{EntryBundle, EntryBundleId, MalformedBundle, RefusedEntry, parse_entries};
pub use checkpoint::{Checkpoint, CheckpointRefused, Cosignature, MalformedCheckpoint, SignedCheckpoint};
pub use hash::{HASH_BYTES, Hash, MalformedHash};
pub use key::{InvalidKeyName, KeyId, KeyKind, KeyName, MalformedVerifierKey, VerifierKey};
pub use note::{
    MalformedNote, NOTE_BYTES_MAX, Note, NoteRefused, NoteSignature, NoteText, SIGNATURES_MAX, TooManySignatures,
    VerifiedSignature,
};
pub use proof::{
    InvalidProof, PROOF_HASHES_MAX, ProofError, consistency_proof, inclusion_proof, root, tiles_of_consistency,
    tiles_of_inclusion, tiles_of_root, verify_consistency, verify_inclusion,
};
pub use proof_lines::MalformedProofLines;
pub use pruned::{Misplaced, PrunedTree};
pub use signer::{Cosigner, InvalidSeed, SEED_BYTES, Signer};
pub use signer_key::{MalformedSignerKey, signer_key_text};
pub use subtree::{CompleteSubtree, subtrees_between};
pub use tile::{MalformedTile, Tile, TileId, partial_tiles, tiles_between};
pub use tile_nodes::TileNodes;
pub use tile_path::{MalformedPath, TILE_WIDTH};
pub use tiles::{TileInMemory, Tiles};
pub use tlog_proof::{LogPolicy, MalformedTlogProof, TLOG_PROOF_BYTES_MAX, TlogProof, TlogProofRefused, VerifiedEntry};
pub use tree::{RestoreError, Tree, TreeFull};
pub use tree_head::{SIZE_MAX, TreeHead};
pub use witness::{
    ADD_CHECKPOINT_PATH, ANSWER_BYTES_MAX, AddCheckpoint, Answer, MalformedAnswer, MalformedRequest, REQUEST_BYTES_MAX,
    SIZE_CONTENT_TYPE, parse_answer,
};

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
//! ```
//! use tlog::{Checkpoint, Hash, LogPolicy, SignedCheckpoint, Signer, Tiles, TlogProof, Tree, inclusion_proof};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The log appends entries, publishes the tiles that changed, and signs a checkpoint.
//! let (mut tree, mut changed) = (Tree::new(), Vec::new());
//! for entry in ["first", "second", "third"] {
//!     tree.append(Hash::of_leaf(entry.as_bytes()), &mut changed)?;
//! }
//! changed.extend(tree.partial_tiles_since(0));
//! let signer = Signer::from_seed("example.com/log".parse()?, &[7; 32])?;
//! let checkpoint = SignedCheckpoint::sign(Checkpoint::new("example.com/log", tree.head())?, &signer)?;
//!
//! // Whoever has the tiles makes a proof, and whoever has the log's key checks it.
//! let tiles: Tiles = changed.into_iter().collect();
//! let hashes = inclusion_proof(1, tree.size(), &tiles)?;
//! let file = TlogProof { extra: Vec::new(), index: 1, hashes, checkpoint }.to_string();
//! let policy = LogPolicy {
//!     origin: "example.com/log".to_owned(),
//!     log_keys: vec![signer.verifier_key().clone()],
//!     witnesses: Vec::new(),
//!     cosignatures_min: 0,
//! };
//! let proof = TlogProof::parse(file.as_bytes())?;
//! assert!(proof.verify(&Hash::of_leaf(b"second"), &policy).is_ok());
//! assert!(proof.verify(&Hash::of_leaf(b"third"), &policy).is_err());
//! # Ok(())
//! # }
//! ```
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

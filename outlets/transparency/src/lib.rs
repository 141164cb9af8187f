//! The log as a transparency log: a Merkle tree over its events, published as files that anybody can check, with checkpoints
//! that are signed. Leaf `position − 1` is the canonical envelope of the event at `position`, as `/v1/events` serves it.
//!
//! - [`Files`] are the published files: tiles, entry bundles and the checkpoint (C2SP `tlog-tiles`).
//! - [`role::Publisher`] publishes while a gateway runs; nothing waits for it.
//! - [`PublishedLog`] has the newest checkpoint, and [`CheckedTree`] answers from the files of its tree: tiles, bundles, proofs. It
//!   checks each file against the root before it uses it.
//! - [`KeyHistory`] has the keys of a log, and says which of them sign a checkpoint and which checkpoints count.
//! - [`compare_with_ledger`] refuses a ledger that does not extend the newest checkpoint.
//! - [`Receipt`] has the events of one request with their proofs.
//! - [`verify`](verify()) derives the tree anew from a ledger, and compares it with a checkpoint.
//!
//! A checkpoint is published in this order: its tiles and bundles, durably; then it is signed; then remembered in the ledger's
//! database, which only the process that has the role can; then it replaces the one before. A process that dies in between has
//! published nothing that the next one could contradict (ADR-0028).

mod checked;
mod checkpoint;
mod damaged_file;
mod entry;
mod files;
mod key_history;
mod ledger;
mod place;
mod publication;
mod published;
mod published_error;
mod receipt;
mod repair;
mod repair_requests;
mod repaired_files;
pub mod role;
mod signing;
mod verify;
mod witnesses;

pub use checked::CheckedTree;
pub use checkpoint::{CheckpointError, LogKeys};
pub use damaged_file::{DamagedFile, FileFault, TreeFile};
pub use entry::{leaf, leaf_of_envelope, push as push_entry};
pub use files::{CHECKPOINT, FOLDER, Files, FilesError};
pub use key_history::{KeyHistory, RecordedKey, Signing};
pub use ledger::{Differs, NewestLeaves, compare_with_ledger};
pub use place::{NewestTree, PublishedPlace, ReaderKind, Reading};
pub use publication::{AddError, Publication};
pub use published::{Checkpoint, PublishedLog};
pub use published_error::PublishedError;
pub use receipt::{ProvenEvents, Receipt, ReceiptEntry, ReceiptEvent, ReceiptFault, ReceiptRefused};
pub use repair::{Repairer, repairer};
pub use repair_requests::RepairRequests;
pub use repaired_files::PendingRepairs;
pub use signing::{OpenSigner, SignerNotOpened};
pub use verify::{TreeDiffers, verify};
pub use witnesses::{WITNESS_RETRY_AFTER, WITNESSES_MAX, WitnessAddress, WrongWitness};

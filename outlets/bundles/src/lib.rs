//! A bundle: a file with one tenant's events in a time range and what is needed to check their costs, each proven to be in the
//! published log. Whoever has the file and the log's public key checks both, without the gateway and without the events of others.
//!
//! - [`Selection`] are the events that a bundle has.
//! - [`write`] makes the file from a ledger and its published log.
//! - [`verify`](verify()) checks it.
//!
//! The file is JSON Lines. The first is the [`Header`], with a signed checkpoint. The others are the tree of that checkpoint from
//! left to right: an event that is shown is the line that `/v1/events` serves, and what is between two of them stands as the
//! hashes of complete subtrees, `{"height":3,"hash":"…"}`, so that the root follows in one pass.

mod file;
mod selection;
mod verify;
mod write;

pub use file::Header;
pub use selection::{SelectError, Selection, TenantRange};
pub use verify::{Verified, VerifyError, verify};
pub use write::{WriteError, Written, write};

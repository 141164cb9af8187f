//! Prompts and answers of tenants whose policy is `sealed` (ADR-0029): one object for each, encrypted under a key of the user
//! that the request was for, or of the tenant if it had none. The key is in the ledger's database, never here: whoever deletes it has deleted the content, in every
//! copy of the store.
//!
//! - `address`: what an object is called. `check`: whether it is what its event says.
//! - `figures`: metrics.
//! - `key`: the key of an owner, and what is sealed under it.
//! - `store`: puts and reads objects, and `reader` opens them.
//! - `retention`: deletes what tenants keep no longer.
//! - `writer`: puts them beside the requests: no request waits for the store.

mod address;
mod check;
mod figures;
mod key;
mod reader;
pub mod retention;
mod store;
mod writer;

pub use address::{ContentAddress, FOLDER};
pub use check::{ObjectDamage, ObjectKey, ObjectState};
pub use figures::ContentFigures;
pub use key::ContentKey;
pub use reader::{ContentReader, KeyOpener, ReadOutcome};
pub use store::{ContentStore, ReadError, StoredObject};
pub use writer::{Content, ContentWriter};

//! Prompts and answers of tenants whose policy is `sealed` (ADR-0029): one object for each, encrypted under a key of the person
//! that the request was for. The key is in the ledger's database, never here: whoever deletes it has deleted the content, in every
//! copy of the store.
//!
//! - `address`: what an object is called.
//! - `key`: the key of a subject, and what is sealed under it.
//! - `store`: puts and reads objects, and `reader` opens them.
//! - `retention`: deletes what tenants keep no longer.
//! - `writer`: puts them beside the requests: no request waits for the store.

mod address;
mod key;
mod reader;
pub mod retention;
mod store;
mod writer;

pub use address::{ContentAddress, FOLDER};
pub use key::ContentKey;
pub use reader::{ContentReader, OpenKey, Opened};
pub use store::{ContentStore, ReadError, StoredObject};
pub use writer::{Content, ContentFigures, ContentWriter};

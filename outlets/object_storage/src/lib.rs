//! Objects in a folder or in an S3 bucket: [`ObjectStoreAddress`] says where, [`Objects`] reads and writes them. What is in an
//! object is not known here.
//!
//! - `address` says where. `store` puts and reads objects; `folder` works with files on a bounded number of threads.
//! - `opening` opens what lies there, with one attempt at a time.

mod address;
mod folder;
mod object;
mod opening;
mod store;

pub use address::{ObjectStoreAddress, WrongAddress};
pub use object::Object;
pub use opening::{NotOpened, Open, Opening};
pub use store::{Enough, Listed, Objects, OpenError, Put, StoreError};

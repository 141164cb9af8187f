//! Objects in a folder or in an S3 bucket: [`ObjectStoreAddress`] says where, [`Objects`] reads and writes them. What is in an
//! object is not known here.

mod address;
mod folder;
mod object;
mod opening;
mod store;

pub use address::{ObjectStoreAddress, WrongAddress};
pub use object::Object;
pub use opening::{NotOpened, Open, Opening};
pub use store::{Enough, Listed, Objects, OpenError, Put, StoreError};

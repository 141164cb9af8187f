//! Objects in a folder or in an S3 bucket: [`ObjectStoreAddress`] says where, [`Objects`] reads and writes them. What is in an
//! object is not known here.

mod address;
mod opening;
mod store;

pub use address::{ObjectStoreAddress, WrongAddress};
pub use opening::{NotOpened, Open, Opening};
pub use store::{Enough, Listed, Object, Objects, OpenError, Put, StoreError};

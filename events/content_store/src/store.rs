//! The objects of sealed content.

use bytes::Bytes;
use objects::{Object, Objects, StoreError};

use crate::address::ContentAddress;
use crate::key::{OVERHEAD, generation_of};

/// The longest text of an object: a request's body at its longest, and more than an answer may have.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The object store of sealed content. Cheap to clone.
#[derive(Clone)]
pub struct ContentStore(Objects);

/// An object of content cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is damaged, or somebody else has put it there.
    #[error("{name} in {store} is not what was sealed for it")]
    Foreign { name: String, store: String },
    #[error("cannot open the key of content: {0}")]
    Key(String),
}

/// An object as it is stored, and the generation of the key that opens it.
pub struct Found {
    pub object: Bytes,
    pub generation: u32,
}

impl ContentStore {
    pub const fn new(objects: Objects) -> Self {
        Self(objects)
    }

    pub(crate) async fn put(&self, address: &ContentAddress, object: Bytes) -> Result<(), StoreError> {
        self.0.put(&address.to_string(), object).await.map(drop)
    }

    /// `None` if there is none.
    pub async fn get(&self, address: &ContentAddress) -> Result<Option<Found>, ReadError> {
        let name = address.to_string();
        let Some(object) = self.0.get(&name, (TEXT_BYTES_MAX + OVERHEAD) as u64).await? else { return Ok(None) };
        let Object::Whole(object) = object else { return Err(self.foreign(address)) };
        let generation = generation_of(&object).ok_or_else(|| self.foreign(address))?;
        Ok(Some(Found { object, generation }))
    }

    pub(crate) fn foreign(&self, address: &ContentAddress) -> ReadError {
        ReadError::Foreign { name: address.to_string(), store: self.0.to_string() }
    }
}

//! The objects of sealed content.

use bytes::Bytes;
use chrono::NaiveDate;
use events::ids::TenantId;
use object_storage::{Enough, Listed, Object, Objects, StoreError};

use crate::address::{ContentAddress, FOLDER, day_of};
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
    /// The object is damaged, or somebody else has put it there.
    #[error("{name} in {store} is damaged or was not written by this gateway")]
    Foreign { name: String, store: String },
    #[error("cannot open the key of content: {0}")]
    Key(String),
}

/// An object as it is stored, and the generation of the key that opens it.
pub struct StoredObject {
    pub bytes: Bytes,
    pub generation: u32,
}

impl ContentStore {
    pub const fn new(objects: Objects) -> Self {
        Self(objects)
    }

    pub(crate) const fn objects(&self) -> &Objects {
        &self.0
    }

    pub(crate) async fn put(&self, address: &ContentAddress, object: Bytes) -> Result<(), StoreError> {
        self.0.put(&address.to_string(), object).await.map(drop)
    }

    /// `None` if there is none.
    pub async fn get(&self, address: &ContentAddress) -> Result<Option<StoredObject>, ReadError> {
        let name = address.to_string();
        let Some(object) = self.0.get(&name, (TEXT_BYTES_MAX + OVERHEAD) as u64).await? else { return Ok(None) };
        let Object::Whole(object) = object else { return Err(self.foreign(address)) };
        let generation = generation_of(&object).ok_or_else(|| self.foreign(address))?;
        Ok(Some(StoredObject { bytes: object, generation }))
    }

    /// At most `len_max` names of the tenant's objects of these days, each with its day.
    pub(crate) async fn names_of(
        &self,
        tenant: TenantId,
        len_max: usize,
        is_wanted: impl Fn(NaiveDate) -> bool,
    ) -> Result<Vec<(String, NaiveDate)>, StoreError> {
        let mut names = Vec::new();
        let found = |listed: Listed| {
            if let Some(day) = day_of(&listed.name).filter(|day| is_wanted(*day)) {
                names.push((listed.name, day));
            }
            if names.len() < len_max { Enough::No } else { Enough::Yes }
        };
        self.0.list(&format!("{FOLDER}/{tenant}"), None, found).await?;
        Ok(names)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name).await
    }

    pub(crate) fn foreign(&self, address: &ContentAddress) -> ReadError {
        ReadError::Foreign { name: address.to_string(), store: self.0.to_string() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use object_storage::ObjectStoreAddress;

    use super::*;

    pub fn store_in(folder: &Path) -> ContentStore {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let address = ObjectStoreAddress::of_folder(folder);
        ContentStore::new(Objects::open(&address, &[FOLDER], |_| None, &tls).expect("a folder"))
    }
}

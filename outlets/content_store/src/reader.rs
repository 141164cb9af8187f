//! Opens what was kept of a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use events::content::ContentKeyOwner;
use events::ids::TenantId;

use crate::address::ContentAddress;
use crate::key::ContentKey;
use crate::store::{ContentStore, ReadError};

/// Opens the key of an owner in a tenant, of this generation; `None` if it was erased. The vault does it, which this crate does not
/// know; errors are for people.
pub type KeyOpener = Arc<dyn Fn(TenantId, ContentKeyOwner, u32) -> OpeningKey + Send + Sync>;

type OpeningKey = Pin<Box<dyn Future<Output = Result<Option<ContentKey>, String>> + Send>>;

/// The result of reading a prompt or an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    Text {
        text: Vec<u8>,
        /// The salt of its digest, in hex.
        salt: String,
    },
    /// The store does not have it.
    Missing,
    /// The key was deleted that opens it.
    Erased,
}

/// Reads the store. Cheap to clone.
#[derive(Clone)]
pub struct ContentReader {
    store: ContentStore,
    open_key: KeyOpener,
}

impl ContentReader {
    pub fn new(store: ContentStore, open_key: KeyOpener) -> Self {
        Self { store, open_key }
    }

    pub async fn read(&self, address: &ContentAddress, owner: ContentKeyOwner) -> Result<ReadOutcome, ReadError> {
        let Some(found) = self.store.get(address).await? else { return Ok(ReadOutcome::Missing) };
        let opening = (self.open_key)(address.tenant, owner, found.generation);
        let Some(key) = opening.await.map_err(ReadError::Key)? else { return Ok(ReadOutcome::Erased) };
        match key.open(address, &found.bytes) {
            Some(text) => Ok(ReadOutcome::Text { text, salt: key.salts().salt(address.request).to_hex() }),
            None => Err(self.store.foreign(address)),
        }
    }
}

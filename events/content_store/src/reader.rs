//! Opens what was kept of a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use events::content::ContentSubject;
use events::ids::TenantId;

use crate::address::ContentAddress;
use crate::key::ContentKey;
use crate::store::{ContentStore, ReadError};

/// Opens the key of a subject in a tenant, of this generation; `None` if it was erased. The vault does it, which this crate does not
/// know; errors are for people.
pub type OpenKey = Arc<dyn Fn(TenantId, ContentSubject, u32) -> OpeningKey + Send + Sync>;

type OpeningKey = Pin<Box<dyn Future<Output = Result<Option<ContentKey>, String>> + Send>>;

/// What became of a prompt or an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
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
    open_key: OpenKey,
}

impl ContentReader {
    pub fn new(store: ContentStore, open_key: OpenKey) -> Self {
        Self { store, open_key }
    }

    pub async fn read(&self, address: &ContentAddress, subject: ContentSubject) -> Result<Opened, ReadError> {
        let Some(found) = self.store.get(address).await? else { return Ok(Opened::Missing) };
        let opening = (self.open_key)(address.tenant, subject, found.generation);
        let Some(key) = opening.await.map_err(ReadError::Key)? else { return Ok(Opened::Erased) };
        match key.open(address, &found.bytes) {
            Some(text) => Ok(Opened::Text { text, salt: key.salts().salt(address.request).shown() }),
            None => Err(self.store.foreign(address)),
        }
    }
}

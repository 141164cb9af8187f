//! Keys of content, opened from a ledger that is only read: to check what is stored. The vault opens them for requests.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::content::{ContentKeyOwner, content_key_name};
use events::ids::TenantId;
use events_log::Reader;

use super::node_key::wipe;
use super::sealed_box::{self, secret_context};
use super::vault::KEY_CHECK_SCOPE;
use super::vault::content_keys::ContentSecret;
use super::{KeyCheck, NodeKey, VaultError, tenant_key};

/// The key of an owner in a generation, as the ledger has it.
pub enum StoredContentKey {
    Opened(ContentSecret),
    /// The owner has no keys: they were erased, ended with the tenant, or were lost with the node's key.
    Erased,
    /// The owner has keys of other generations alone.
    OtherGeneration,
    /// Only other nodes have the key of the tenant.
    OfOtherNodes,
}

/// Opens keys of content in a ledger under a node's key. Blocking.
pub struct ContentKeyReader<'a> {
    reader: &'a dyn Reader,
    node_key: &'a NodeKey,
    check: KeyCheck,
}

impl<'a> ContentKeyReader<'a> {
    /// Errors: the ledger's keys are wrapped under another node's key; the ledger cannot be read.
    pub fn new(reader: &'a dyn Reader, node_key: &'a NodeKey) -> Result<Self, VaultError> {
        let check = match reader.wrapped_key(KEY_CHECK_SCOPE)? {
            None => node_key.derived_key_check(),
            Some(wrapped) => {
                let other = || VaultError::OtherNodeKey { scope: KEY_CHECK_SCOPE.to_owned() };
                let mut key = sealed_box::unwrap(node_key, KEY_CHECK_SCOPE, &wrapped).ok_or_else(other)?;
                let check = KeyCheck::from_bytes(&key);
                wipe(&mut key);
                check
            }
        };
        Ok(Self { reader, node_key, check })
    }

    /// The key of an owner in a tenant of this generation.
    ///
    /// Errors: the stored key does not open; the ledger cannot be read.
    pub fn key_of_generation(
        &self,
        tenant: TenantId,
        owner: ContentKeyOwner,
        generation: u32,
    ) -> Result<StoredContentKey, VaultError> {
        let name = content_key_name(owner, tenant);
        let Some(sealed) = self.reader.sealed_secret_of(&name, generation)? else {
            return Ok(match self.reader.sealed_secret(&name)? {
                Some(_) => StoredContentKey::OtherGeneration,
                None => StoredContentKey::Erased,
            });
        };
        let granted = self.reader.tenant_keys_of(&sealed.key_scope)?;
        let own = self.node_key.fingerprint();
        let Some(ours) = granted.iter().find(|row| row.node == own) else {
            return Ok(StoredContentKey::OfOtherNodes);
        };
        let unopenable = || VaultError::Unopenable { subject: sealed.subject.clone() };
        let mut key = tenant_key::opened(&self.check, self.node_key, ours).ok_or_else(unopenable)?;
        let cipher = XChaCha20Poly1305::new((&key).into());
        wipe(&mut key);
        let context = secret_context(&sealed.key_scope, &sealed.subject, sealed.generation);
        let mut plain = sealed_box::open(&cipher, &context, &sealed.sealed).ok_or_else(unopenable)?;
        let secret = plain.as_slice().try_into().ok();
        wipe(&mut plain);
        Ok(StoredContentKey::Opened(ContentSecret { generation, secret: secret.ok_or_else(unopenable)? }))
    }
}

//! The keys that seal prompts and answers (ADR-0029): for each owner one in each tenant, sealed under the tenant's key as an API
//! key of a provider is. They are drawn and never derived: who deletes a row has deleted the content.
//!
//! Two processes may make a key for the same owner at the same time. Each draws its generation, so that both are stored, and each
//! object names the generation that opens it.

use events::content::{ContentKeyOwner, content_key_name};
use events::event::{Stream, StreamKind};
use events::ids::TenantId;
use events_log::{AppendError, Basis, LogError, SealedSecret, SideRow};
use tokio::time::timeout;

use super::{SEALING_WAIT_MAX, Vault, VaultError};
use crate::node_key::wipe;
use crate::sealed_box::{self, secret_context};

/// There is no key for content now.
#[derive(Debug, thiserror::Error)]
pub enum ContentKeyError {
    /// The caller may have lost its right by now: look again.
    #[error("make a key for content: its owner or its tenant was changed meanwhile")]
    Outdated,
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<LogError> for ContentKeyError {
    fn from(error: LogError) -> Self {
        Self::Vault(error.into())
    }
}

/// A key of an owner in one generation.
pub struct ContentSecret {
    pub generation: u32,
    pub secret: [u8; 32],
}

impl Vault {
    /// The newest key of an owner in a tenant, which is made if there is none.
    ///
    /// Errors: the owner or the tenant has changed after `known_until`, and may have ended; the log cannot be read; the key does
    /// not open.
    pub async fn content_key_or_new(
        &self,
        tenant: TenantId,
        owner: ContentKeyOwner,
        known_until: u64,
    ) -> Result<ContentSecret, ContentKeyError> {
        // Held until the key is appended, so that this process makes one and no two.
        let permit = timeout(SEALING_WAIT_MAX, self.sealing.lock()).await;
        let _permit = permit.map_err(|_| LogError::TimedOut(SEALING_WAIT_MAX))?;
        let name = content_key_name(owner, tenant);
        let stored = self.log.read_for(Some(tenant), {
            let name = name.clone();
            move |reader| reader.sealed_secret(&name)
        });
        if let Some(sealed) = stored.await? {
            return Ok(self.opened_content_key(tenant, sealed).await?);
        }
        let (cipher, mut rows) = self.tenant_key_to_seal(tenant).await?;
        let key_scope = tenant.to_string();
        let (generation, secret) = (u32::from_be_bytes(self.ids.bytes()), self.ids.bytes());
        let context = secret_context(&key_scope, &name, generation);
        let sealed = sealed_box::seal(&cipher, &self.ids.bytes(), &context, &secret);
        let sealed = sealed.ok_or_else(|| VaultError::Unsealable { subject: name.clone() })?;
        rows.push(SideRow::SealedSecret(SealedSecret { subject: name, key_scope, generation, sealed }));
        // Nothing is made for a person after the erasure.
        let of_user = match owner {
            ContentKeyOwner::User(user) => Some(Stream::new(StreamKind::User, user)),
            ContentKeyOwner::Tenant(_) => None,
        };
        let streams = of_user.into_iter().chain([Stream::new(StreamKind::Tenant, tenant)]).collect();
        match self.store_on(rows, Basis { streams, kinds: Vec::new(), known_until }).await {
            Ok(_) => Ok(ContentSecret { generation, secret }),
            Err(AppendError::Unavailable(error)) => Err(error.into()),
            Err(AppendError::Outdated { .. } | AppendError::OptimisticLock) => Err(ContentKeyError::Outdated),
            Err(error) => Err(LogError::Append(error.to_string()).into()),
        }
    }

    /// The key of an owner in a tenant of this generation; `None` if it was erased, or the tenant was ended.
    pub async fn content_key_of_generation(
        &self,
        tenant: TenantId,
        owner: ContentKeyOwner,
        generation: u32,
    ) -> Result<Option<ContentSecret>, VaultError> {
        let name = content_key_name(owner, tenant);
        match self.log.read_for(Some(tenant), move |reader| reader.sealed_secret_of(&name, generation)).await? {
            Some(sealed) => self.opened_content_key(tenant, sealed).await.map(Some),
            None => Ok(None),
        }
    }

    async fn opened_content_key(&self, tenant: TenantId, sealed: SealedSecret) -> Result<ContentSecret, VaultError> {
        let unopenable = || VaultError::Unopenable { subject: sealed.subject.clone() };
        let scope = sealed.key_scope.clone();
        let granted = self.log.read_for(Some(tenant), move |reader| reader.tenant_keys_of(&scope)).await?;
        let key = self.tenant_key(tenant, &granted).await?;
        let cipher = super::cipher_of(key.ok_or_else(unopenable)?);
        let context = secret_context(&sealed.key_scope, &sealed.subject, sealed.generation);
        let mut plain = sealed_box::open(&cipher, &context, &sealed.sealed).ok_or_else(unopenable)?;
        let secret = plain.as_slice().try_into().ok();
        wipe(&mut plain);
        Ok(ContentSecret { generation: sealed.generation, secret: secret.ok_or_else(unopenable)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::event::admin::Tenant;
    use events::event::{Actor, Change, Context, Event};
    use events::ids::{IdMaker, SystemRandom, UserId};
    use events::time::SystemClock;
    use events_log::{Append, Log, LogOptions};
    use tempfile::TempDir;

    use super::*;
    use crate::content_key_reader::{ContentKeyReader, StoredContentKey};
    use crate::reseal::{PreviousKey, StoredSecrets, reseal};
    use crate::{EnvironmentKeys, NodeKey};

    struct Lab {
        log: Log,
        ids: IdMaker,
        tenant: TenantId,
        user: UserId,
        _folder: TempDir,
    }

    impl Lab {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).unwrap();
            let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
            Self { log, tenant: ids.make(), user: ids.make(), ids, _folder: folder }
        }

        fn vault(&self, key: u8) -> Arc<Vault> {
            let key = NodeKey::from_bytes(&[key; 32]);
            Vault::new(key, self.log.clone(), self.ids.clone(), EnvironmentKeys::default())
        }

        fn owner(&self) -> ContentKeyOwner {
            ContentKeyOwner::User(self.user)
        }

        async fn append(&self, events: Vec<Event>, side: Vec<SideRow>) {
            let (stream, context) = (Stream::new(StreamKind::Tenant, self.tenant), Context::of(Actor::Operator));
            let (expected_sequence, basis) = (0, Basis::default());
            let append = Append { stream, expected_sequence, events, context, side, idempotency: None, basis };
            self.log.append(append).await.unwrap();
        }

        async fn reseal(&self, previous: PreviousKey<'_>, new: u8) {
            let stored = self.log.read(StoredSecrets::read).await.unwrap();
            let resealed = reseal(&self.log, &stored, previous, &NodeKey::from_bytes(&[new; 32]), &self.ids).await;
            assert!(resealed.unwrap().resealed.is_empty(), "no provider has a key");
        }
    }

    #[tokio::test]
    async fn an_owner_keeps_its_key_until_it_is_erased() {
        let lab = Lab::new();
        let made = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap();
        let known = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap();
        assert_eq!((known.generation, known.secret), (made.generation, made.secret));
        let of_tenant =
            lab.vault(1).content_key_or_new(lab.tenant, ContentKeyOwner::Tenant(lab.tenant), 0).await.unwrap();
        assert_ne!(of_tenant.secret, made.secret);
        let opened =
            async || lab.vault(1).content_key_of_generation(lab.tenant, lab.owner(), made.generation).await.unwrap();
        assert_eq!(opened().await.map(|opened| opened.secret), Some(made.secret));
        lab.append(Vec::new(), vec![SideRow::DropContentKeys(lab.user)]).await;
        assert!(opened().await.is_none());
        // It is not derived: another one is another one.
        let another = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap();
        assert_ne!(another.secret, made.secret);
    }

    #[tokio::test]
    async fn a_ledger_that_is_only_read_has_the_same_keys() {
        let lab = Lab::new();
        lab.vault(1).key_check().await.unwrap();
        let made = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap();
        let (reader, node_key) = (lab.log.reader().unwrap(), NodeKey::from_bytes(&[1; 32]));
        let keys = ContentKeyReader::new(&*reader, &node_key).unwrap();
        let of = |generation| keys.key_of_generation(lab.tenant, lab.owner(), generation).unwrap();
        assert!(matches!(of(made.generation), StoredContentKey::Opened(opened) if opened.secret == made.secret));
        assert!(matches!(of(made.generation ^ 1), StoredContentKey::OtherGeneration));
        lab.append(Vec::new(), vec![SideRow::DropContentKeys(lab.user)]).await;
        assert!(matches!(of(made.generation), StoredContentKey::Erased));
        let other = NodeKey::from_bytes(&[2; 32]);
        assert!(matches!(ContentKeyReader::new(&*reader, &other), Err(VaultError::OtherNodeKey { .. })));
    }

    #[tokio::test]
    async fn no_key_is_made_for_a_tenant_that_has_changed() {
        let lab = Lab::new();
        lab.append(vec![Change::created(Tenant::new(lab.tenant, lab.ids.make(), "t")).into()], Vec::new()).await;
        let made = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await;
        assert!(matches!(made, Err(ContentKeyError::Outdated)));
        assert!(lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), lab.log.head().position).await.is_ok());
    }

    #[tokio::test]
    async fn a_key_survives_a_new_key_of_the_node_and_is_dropped_if_that_was_lost() {
        let lab = Lab::new();
        lab.vault(1).key_check().await.unwrap();
        let made = lab.vault(1).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap();
        lab.reseal(PreviousKey::Known(&NodeKey::from_bytes(&[1; 32])), 2).await;
        let opened = lab.vault(2).content_key_of_generation(lab.tenant, lab.owner(), made.generation).await.unwrap();
        assert_eq!(opened.map(|opened| opened.secret), Some(made.secret));
        lab.reseal(PreviousKey::Lost, 3).await;
        assert!(
            lab.vault(3).content_key_of_generation(lab.tenant, lab.owner(), made.generation).await.unwrap().is_none()
        );
        assert_ne!(lab.vault(3).content_key_or_new(lab.tenant, lab.owner(), 0).await.unwrap().secret, made.secret);
    }
}

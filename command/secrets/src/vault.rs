//! Provider keys at rest. Each is sealed (XChaCha20-Poly1305) under the data key of its tenant, or of the platform; a
//! data key is itself wrapped under the node's key, and so is the key that API keys are checked with. Opened keys are kept in
//! memory, a provider's newest alone.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::event::{Actor, Context, Stream, StreamKind};
use events::ids::{IdMaker, IdMap, ProviderId, TenantId};
use events::log::{Append, AppendError, Basis, Log, LogError, SealedSecret, SideRow};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::boxes::{self, NONCE_LEN, secret_binding};
use super::node_key::{FILE, NodeKey, VARIABLE, wipe};
use super::{KeyCheck, Secret};

/// Under which the key is kept that API keys are checked with; no tenant has such an id.
pub(super) const KEY_CHECK_SCOPE: &str = "key_check";
/// How long somebody waits for the sealing before to be appended.
const SEALING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A provider's key can be neither sealed nor opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("open the key of {subject}: it was sealed under another node's key, or is damaged")]
    Unopenable { subject: String },
    #[error("open the key of {subject}: it was given up with the node's key that was lost, and needs another one")]
    GivenUp { subject: String },
    #[error("open the key of {subject}: its data key {scope} is missing")]
    DataKeyMissing { subject: String, scope: String },
    /// Another key than the row's that was asked with: it may belong to another address.
    #[error("open the key of {subject}: generation {wanted} was asked for, and {found} is there")]
    OtherGeneration { subject: String, wanted: u32, found: u32 },
    #[error("seal the key of {subject}")]
    Unsealable { subject: String },
    #[error("{VARIABLE} or {FILE} is not the key that the data key {scope} was wrapped under: put the right one back")]
    OtherNodeKey { scope: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Whose data key seals a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKeyScope {
    Platform,
    Tenant(TenantId),
}

impl fmt::Display for DataKeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Tenant(tenant) => tenant.fmt(f),
        }
    }
}

/// Seals provider keys and opens them again. Shared by all requests.
pub struct Vault {
    node_key: NodeKey,
    log: Log,
    ids: IdMaker,
    opened: RwLock<IdMap<ProviderId, Opened>>,
    /// Held from reading a data key to appending what was sealed under it, so that no two are made for one scope.
    sealing: Arc<Mutex<()>>,
}

struct Opened {
    generation: u32,
    secret: Option<Secret>,
}

/// A data key at hand to seal with. While it or what it sealed lives, no other sealing begins.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    scope: String,
    /// To append with the secret, where the data key is new.
    wrapped: Option<SideRow>,
    nonce: [u8; NONCE_LEN],
    permit: SealingPermit,
}

/// A sealed secret on its way to the log.
pub struct Sealed {
    rows: Vec<SideRow>,
    permit: SealingPermit,
}

/// The right to seal. Drop it after the append: until then nobody else makes a data key.
pub struct SealingPermit(#[expect(dead_code, reason = "what it is for is to be held")] OwnedMutexGuard<()>);

impl Sealed {
    /// The side rows, and what to hold until they are appended.
    pub fn into_rows(self) -> (Vec<SideRow>, SealingPermit) {
        (self.rows, self.permit)
    }
}

impl Vault {
    pub fn new(node_key: NodeKey, log: Log, ids: IdMaker) -> Arc<Self> {
        let (opened, sealing) = (RwLock::default(), Arc::default());
        Arc::new(Self { node_key, log, ids, opened, sealing })
    }

    /// What API keys are checked with: a key that the log keeps for that, wrapped. A log that has none yet is new, or one of
    /// version 0.1.0: from now on it keeps the one that is derived from the node's key, which checked its keys until now.
    /// Errors: what the log holds hangs on another node's key; the log cannot be read.
    pub async fn key_check(&self) -> Result<KeyCheck, VaultError> {
        let kept = self.log.read(|reader| reader.wrapped_key(KEY_CHECK_SCOPE)).await?;
        if let Some(wrapped) = kept {
            let other = || VaultError::OtherNodeKey { scope: KEY_CHECK_SCOPE.to_owned() };
            let mut key = boxes::unwrap(&self.node_key, KEY_CHECK_SCOPE, &wrapped).ok_or_else(other)?;
            let check = KeyCheck::from_bytes(&key);
            wipe(&mut key);
            return Ok(check);
        }
        if let Some((scope, wrapped)) = self.log.read(|reader| reader.any_wrapped_key()).await?
            && boxes::unwrap(&self.node_key, &scope, &wrapped).is_none()
        {
            return Err(VaultError::OtherNodeKey { scope });
        }
        if let Err(error) = self.keep_derived_key_check().await {
            // Until the disk or the clock is right: it serves with what it would have kept.
            tracing::warn!(%error, "keep the key that API keys are checked with; the next start tries again");
        }
        Ok(self.node_key.derived_key_check())
    }

    async fn keep_derived_key_check(&self) -> Result<(), VaultError> {
        let key = self.node_key.derived_key_check_bytes();
        let wrapped = boxes::wrap(&self.node_key, &self.ids.bytes(), KEY_CHECK_SCOPE, key);
        let wrapped = wrapped.ok_or_else(|| VaultError::Unsealable { subject: KEY_CHECK_SCOPE.to_owned() })?;
        let row = SideRow::WrappedKey { scope: KEY_CHECK_SCOPE.to_owned(), wrapped };
        let append = Append {
            stream: Stream::new(StreamKind::NodeKey, self.node_key.fingerprint()),
            expected_sequence: 0,
            // Nothing happened that anybody needs to know of: what was derived is the same as what is kept.
            events: Vec::new(),
            context: Context::of(Actor::System("setup")),
            side: vec![row],
            idempotency: None,
            basis: Basis::default(),
        };
        match self.log.append(append).await {
            Ok(_) => Ok(()),
            Err(AppendError::Unavailable(error)) => Err(error.into()),
            Err(error) => Err(LogError::Append(error.to_string()).into()),
        }
    }

    /// The provider's API key in the generation that its row names: from memory where it was opened before, else from the
    /// log's side table. `None` where it has none.
    ///
    /// Errors: there is another generation, so that the row is not the newest; the log cannot be read; the box does not
    /// open under this node's key, or was given up.
    pub async fn open(&self, provider: ProviderId, generation: u32) -> Result<Option<Secret>, VaultError> {
        if generation == 0 {
            return Ok(None);
        }
        if let Some(opened) = self.opened.read().unwrap_or_else(PoisonError::into_inner).get(&provider)
            && opened.generation == generation
        {
            return Ok(opened.secret.clone());
        }
        let secret = self.open_stored(provider, generation).await?;
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.get(&provider).is_none_or(|newest| newest.generation < generation) {
            opened.insert(provider, Opened { generation, secret: secret.clone() });
        }
        Ok(secret)
    }

    async fn open_stored(&self, provider: ProviderId, generation: u32) -> Result<Option<Secret>, VaultError> {
        let subject = provider.to_string();
        let stored = self
            .log
            .read(move |reader| {
                let Some(sealed) = reader.sealed_secret(&subject)? else { return Ok(None) };
                let wrapped = reader.wrapped_key(&sealed.key_scope)?;
                Ok(Some((sealed, wrapped)))
            })
            .await?;
        let Some((sealed, wrapped)) = stored else { return Ok(None) };
        if sealed.generation != generation {
            let (subject, found) = (sealed.subject, sealed.generation);
            return Err(VaultError::OtherGeneration { subject, wanted: generation, found });
        }
        self.unseal(&sealed, wrapped.as_deref()).map(Some)
    }

    fn unseal(&self, sealed: &SealedSecret, wrapped: Option<&[u8]>) -> Result<Secret, VaultError> {
        let subject = || sealed.subject.clone();
        if sealed.is_given_up() {
            return Err(VaultError::GivenUp { subject: subject() });
        }
        let wrapped = wrapped
            .ok_or_else(|| VaultError::DataKeyMissing { subject: subject(), scope: sealed.key_scope.clone() })?;
        let unopenable = || VaultError::Unopenable { subject: subject() };
        let cipher = self.unwrap_data_key(&sealed.key_scope, wrapped).ok_or_else(unopenable)?;
        let bound = secret_binding(&sealed.key_scope, &sealed.subject, sealed.generation);
        let plain = boxes::open(&cipher, &bound, &sealed.sealed).ok_or_else(unopenable)?;
        String::from_utf8(plain).map(Secret::new).map_err(|_| unopenable())
    }

    /// The scope's data key, made now where there is none yet. Waits for the sealing before it to be appended.
    pub async fn sealer(&self, scope: DataKeyScope) -> Result<Sealer, VaultError> {
        let permit = timeout(SEALING_WAIT_MAX, Arc::clone(&self.sealing).lock_owned()).await;
        let permit = SealingPermit(permit.map_err(|_| LogError::TimedOut(SEALING_WAIT_MAX))?);
        let scope = scope.to_string();
        let asked = scope.clone();
        let stored = self.log.read(move |reader| reader.wrapped_key(&asked)).await?;
        let unsealable = || VaultError::Unsealable { subject: scope.clone() };
        let (cipher, wrapped) = match stored {
            Some(wrapped) => (self.unwrap_data_key(&scope, &wrapped).ok_or_else(unsealable)?, None),
            None => {
                let (cipher, wrapped) = self.make_data_key(&scope).ok_or_else(unsealable)?;
                (cipher, Some(SideRow::WrappedKey { scope: scope.clone(), wrapped }))
            }
        };
        Ok(Sealer { cipher, scope, wrapped, nonce: self.ids.bytes(), permit })
    }

    fn make_data_key(&self, scope: &str) -> Option<(XChaCha20Poly1305, Vec<u8>)> {
        let mut key: [u8; 32] = self.ids.bytes();
        let cipher = XChaCha20Poly1305::new((&key).into());
        let wrapped = boxes::wrap(&self.node_key, &self.ids.bytes(), scope, &key);
        wipe(&mut key);
        Some((cipher, wrapped?))
    }

    fn unwrap_data_key(&self, scope: &str, wrapped: &[u8]) -> Option<XChaCha20Poly1305> {
        let mut key = boxes::unwrap(&self.node_key, scope, wrapped)?;
        let cipher = XChaCha20Poly1305::new((&key).into());
        wipe(&mut key);
        Some(cipher)
    }
}

impl Sealer {
    /// Seals once, for the event that makes `generation` the provider's newest.
    pub fn seal(self, provider: ProviderId, generation: u32, secret: &Secret) -> Result<Sealed, VaultError> {
        let subject = provider.to_string();
        let bound = secret_binding(&self.scope, &subject, generation);
        let Some(sealed) = boxes::make(&self.cipher, &self.nonce, &bound, secret.reveal().as_bytes()) else {
            return Err(VaultError::Unsealable { subject });
        };
        let row = SealedSecret { subject, key_scope: self.scope, generation, sealed };
        // The box of a key that is not used any more is worth stealing and good for nothing.
        let forget = SideRow::DropSealedSecret { subject: row.subject.clone() };
        let rows = self.wrapped.into_iter().chain([forget, SideRow::SealedSecret(row)]).collect();
        Ok(Sealed { rows, permit: self.permit })
    }
}

//! The vault seals providers' API keys and secret headers before they are stored, and opens them for the requests that need them.
//!
//! Envelope encryption: each key is sealed (XChaCha20-Poly1305) under the data key of its tenant or of the platform. The
//! platform's data key is wrapped under the node's key, those of tenants to the nodes that serve them (`tenant_keys.rs`). A box
//! is bound to its scope, provider and generation, so that a row moved to another provider does not open. [`Vault::open`]
//! returns only the generation that the caller's row names: a newer key may belong to another address, and must never be sent
//! to the old one.
//!
//! Two requests must not create different data keys for one scope. Within a node, sealing is serialized from reading the data
//! key until the append. Nodes that share a log have the same node key, and derive the first data key of a scope from it:
//! those that make it at the same time make the same one. The log of a folder has one node, which draws the key: a node that
//! gives up a tenant's key could otherwise derive it again.
//!
//! Opened keys stay in memory while their providers' rows name them, so that requests do not read the database; the vault
//! therefore does not protect against someone who reads the process's memory. It does not replace the node's key (`reseal`
//! does, offline), and wraps the check key of API keys instead of deriving it, so that this key survives such a replacement
//! (ADR-0007).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::event::admin::Provider;
use events::event::{Actor, Context, Stream, StreamKind};
use events::ids::{IdMaker, IdMap, TenantId};
use events_log::{Append, AppendError, Basis, Log, LogError, SealedSecret, SideRow};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use tokio::time::timeout;

use super::environment_keys::EnvironmentKeys;
use super::node_key::{FILE, NodeKey, VARIABLE, wipe};
use super::sealed_box::{self, secret_context};
use super::secret_id::SecretId;
use super::{KeyCheck, Secret, ServedTenants};

/// The scope under which the check key of API keys is stored; no tenant has such an id.
pub(super) const KEY_CHECK_SCOPE: &str = "key_check";
/// The scope of the platform's data key.
const PLATFORM_SCOPE: &str = "platform";
/// The most opened keys that are kept in memory. Any others are opened for each request.
const OPENED_MAX: usize = 10_000;
/// How long a sealing waits for the append of the one before it.
const SEALING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A secret of a provider could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("open the secret of {subject}: it was sealed under another node's key, or is damaged")]
    Unopenable { subject: String },
    #[error("open the secret of {subject}: it was given up when the node's key was lost; set a new one")]
    GivenUp { subject: String },
    #[error("open the secret of {subject}: its data key {scope} is missing")]
    DataKeyMissing { subject: String, scope: String },
    /// The stored secret is not the one of the caller's row: it may belong to another address.
    #[error("open the secret of {subject}: generation {wanted} was requested, but {found} is stored")]
    OtherGeneration { subject: String, wanted: u32, found: u32 },
    #[error("seal the secret of {subject}")]
    Unsealable { subject: String },
    #[error(
        "the node's key (in {VARIABLE} or {FILE}) is not the one that this ledger's secrets are sealed under: give the key of this ledger"
    )]
    OtherNodeKey { scope: String },
    /// The provider was made from the environment of another process, or from what this one's was before.
    #[error("read the API key of {subject}: this process does not have {variable} for that address")]
    NotInEnvironment { subject: String, variable: String },
    /// The configuration of this node leaves the tenant out.
    #[error("this node does not serve the tenant {tenant}, so it does not open or seal its keys")]
    NotServed { tenant: TenantId },
    /// No node that has the tenant's key has wrapped it to this one yet.
    #[error(
        "this node does not have the key of the tenant {tenant}: start a node that has it once more, which then passes it on"
    )]
    NotGranted { tenant: TenantId },
    #[error(transparent)]
    Log(#[from] LogError),
}

pub mod content_keys;
pub mod log_key;

mod tenant_keys;

/// Seals and opens the secrets of providers. Shared by all requests.
pub struct Vault {
    node_key: NodeKey,
    log: Log,
    ids: IdMaker,
    opened: RwLock<OpenedKeys>,
    environment: EnvironmentKeys,
    served: ServedTenants,
    /// The check key, once it was read.
    check: OnceCell<KeyCheck>,
    /// Held from reading a data key until the secret is appended, so that no scope gets two data keys.
    sealing: Arc<Mutex<()>>,
}

/// The secrets in memory.
#[derive(Default)]
struct OpenedKeys {
    keys: IdMap<SecretId, Opened>,
    /// The number of calls of [`Vault::retain`]: a key that was read before the last one may no longer be in force.
    retained: u64,
}

/// The newest opened secret of one id.
struct Opened {
    generation: u32,
    secret: Option<Secret>,
}

/// Secrets that are sealed for one append. Keep it until that is done: from the first secret on, nobody else can create a data key.
#[derive(Default)]
pub struct Sealing {
    permit: Option<OwnedMutexGuard<()>>,
    /// The data keys by their scopes, which may not be stored yet.
    ciphers: HashMap<String, XChaCha20Poly1305>,
}

impl Vault {
    /// The vault of a node that serves all tenants.
    pub fn new(node_key: NodeKey, log: Log, ids: IdMaker, environment: EnvironmentKeys) -> Arc<Self> {
        Self::serving(ServedTenants::All, node_key, log, ids, environment)
    }

    pub fn serving(
        served: ServedTenants,
        node_key: NodeKey,
        log: Log,
        ids: IdMaker,
        environment: EnvironmentKeys,
    ) -> Arc<Self> {
        let (opened, check, sealing) = (RwLock::default(), OnceCell::default(), Arc::default());
        Arc::new(Self { node_key, log, ids, opened, environment, served, check, sealing })
    }

    /// The API key of a provider as its row names it: from the environment, or the sealed one. `None` if it has none.
    ///
    /// Errors: those of [`Vault::open`]; this process does not have the variable for the row's address.
    pub async fn key_of(&self, provider: &Provider) -> Result<Option<Secret>, VaultError> {
        let Some(variable) = &provider.key_variable else {
            return self.open(provider.tenant_id, provider.provider_id, provider.secret_generation).await;
        };
        let key = self.environment.key(variable, provider.base_url.as_deref());
        key.cloned().map(Some).ok_or_else(|| VaultError::NotInEnvironment {
            subject: provider.provider_id.to_string(),
            variable: variable.clone(),
        })
    }

    /// The check key of API keys, which the log keeps wrapped. A log without one is new, or was written by version 0.1.0:
    /// then this stores the key derived from the node's key, which version 0.1.0 used.
    ///
    /// Errors: the log's keys are wrapped under another node's key; the log cannot be read.
    pub async fn key_check(&self) -> Result<KeyCheck, VaultError> {
        self.check.get_or_try_init(|| self.read_key_check()).await.cloned()
    }

    async fn read_key_check(&self) -> Result<KeyCheck, VaultError> {
        let kept = self.log.read(|reader| reader.wrapped_key(KEY_CHECK_SCOPE)).await?;
        if let Some(wrapped) = kept {
            let other = || VaultError::OtherNodeKey { scope: KEY_CHECK_SCOPE.to_owned() };
            let mut key = sealed_box::unwrap(&self.node_key, KEY_CHECK_SCOPE, &wrapped).ok_or_else(other)?;
            let check = KeyCheck::from_bytes(&key);
            wipe(&mut key);
            return Ok(check);
        }
        if let Some((scope, wrapped)) = self.log.read(|reader| reader.any_wrapped_key()).await?
            && sealed_box::unwrap(&self.node_key, &scope, &wrapped).is_none()
        {
            return Err(VaultError::OtherNodeKey { scope });
        }
        if let Err(error) = self.store_derived_key_check().await {
            // The disk or the clock is at fault. The gateway serves with the key that it would have stored.
            tracing::warn!(%error, "the check key of API keys was not stored; the next start tries again");
        }
        Ok(self.node_key.derived_key_check())
    }

    async fn store_derived_key_check(&self) -> Result<(), VaultError> {
        // The stored key is the same as the derived one, so nothing has changed for anyone.
        self.store(vec![Self::first_row(&self.node_key, &self.ids)?]).await
    }

    /// The row that ties an empty log to its node's key: the check key, wrapped. Write it with the log's first event, so that of
    /// several nodes which find the log empty, only one decides which key that is, and the others find it.
    pub fn first_row(node_key: &NodeKey, ids: &IdMaker) -> Result<SideRow, VaultError> {
        let row = sealed_box::wrapped_row(node_key, ids, KEY_CHECK_SCOPE, &node_key.key_check);
        row.ok_or_else(|| VaultError::Unsealable { subject: KEY_CHECK_SCOPE.to_owned() })
    }

    /// Stores rows without an event.
    async fn store(&self, side: Vec<SideRow>) -> Result<(), VaultError> {
        match self.store_on(side, Basis::default()).await {
            Ok(()) => Ok(()),
            Err(AppendError::Unavailable(error)) => Err(error.into()),
            Err(error) => Err(LogError::Append(error.to_string()).into()),
        }
    }

    /// Stores rows without an event, unless one of these streams has changed.
    async fn store_on(&self, side: Vec<SideRow>, basis: Basis) -> Result<(), AppendError> {
        let stream = Stream::new(StreamKind::NodeKey, self.node_key.fingerprint());
        let existing = stream.clone();
        let read = self.log.read(move |reader| Ok(reader.stream(&existing)?.len() as u64)).await;
        let (sequence, context) = (read.map_err(AppendError::Unavailable)?, Context::of(Actor::System("setup")));
        let append = Append { side, basis, ..Append::new(stream, sequence, Vec::new(), context) };
        self.log.append(append).await.map(drop)
    }

    /// A secret in the generation that the row of its provider or provider key names: from memory if it was opened before, else
    /// from the log's side table, in the turn of the provider's owner. `None` if there is none.
    ///
    /// Errors: another generation is stored, so the row is not the newest; the log cannot be read; the key does not open
    /// under this node's key, or was given up.
    pub async fn open(
        &self,
        owner: Option<TenantId>,
        id: impl Into<SecretId>,
        generation: u32,
    ) -> Result<Option<Secret>, VaultError> {
        let id = id.into();
        if generation == 0 {
            return Ok(None);
        }
        let retained = {
            let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = opened.keys.get(&id).filter(|known| known.generation == generation) {
                return Ok(known.secret.clone());
            }
            opened.retained
        };
        let secret = self.open_stored(owner, id, generation).await?;
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.retained == retained {
            keep(&mut opened.keys, id, Opened { generation, secret: secret.clone() });
        }
        Ok(secret)
    }

    /// Drops the opened keys that are not in force from memory. Call it when a provider has changed or ended.
    pub fn retain(&self, is_in_force: impl Fn(SecretId, u32) -> bool) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.keys.retain(|id, known| is_in_force(*id, known.generation));
        opened.retained += 1;
    }

    /// The number of keys in memory.
    pub fn opened_count(&self) -> usize {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).keys.len()
    }

    async fn open_stored(
        &self,
        owner: Option<TenantId>,
        id: SecretId,
        generation: u32,
    ) -> Result<Option<Secret>, VaultError> {
        let subject = id.to_string();
        let stored = self
            .log
            .read_for(owner, move |reader| {
                let Some(sealed) = reader.sealed_secret(&subject)? else { return Ok(None) };
                let wrapped = reader.wrapped_key(&sealed.key_scope)?;
                let of_tenant = reader.tenant_keys_of(&sealed.key_scope)?;
                Ok(Some((sealed, wrapped, of_tenant)))
            })
            .await?;
        let Some((sealed, wrapped, of_tenant)) = stored else { return Ok(None) };
        if sealed.generation != generation {
            let (subject, found) = (sealed.subject, sealed.generation);
            return Err(VaultError::OtherGeneration { subject, wanted: generation, found });
        }
        let data_key = match sealed.key_scope.parse() {
            Ok(tenant) => self.tenant_key(tenant, &of_tenant).await?,
            Err(_) => None,
        };
        self.unseal(&sealed, data_key, wrapped.as_deref()).map(Some)
    }

    fn unseal(
        &self,
        sealed: &SealedSecret,
        of_tenant: Option<[u8; 32]>,
        wrapped: Option<&[u8]>,
    ) -> Result<Secret, VaultError> {
        let subject = || sealed.subject.clone();
        if sealed.is_given_up() {
            return Err(VaultError::GivenUp { subject: subject() });
        }
        let unopenable = || VaultError::Unopenable { subject: subject() };
        let cipher = match (of_tenant, wrapped) {
            (Some(key), _) => cipher_of(key),
            // A tenant's key of an earlier version.
            (None, Some(wrapped)) => self.unwrap_data_key(&sealed.key_scope, wrapped).ok_or_else(unopenable)?,
            (None, None) => {
                return Err(VaultError::DataKeyMissing { subject: subject(), scope: sealed.key_scope.clone() });
            }
        };
        let context = secret_context(&sealed.key_scope, &sealed.subject, sealed.generation);
        let plain = sealed_box::open(&cipher, &context, &sealed.sealed).ok_or_else(unopenable)?;
        String::from_utf8(plain).map(Secret::new).map_err(|_| unopenable())
    }

    /// Seals the secret that becomes `generation`, the newest of its id, under the data key of `owner` (`None` is the
    /// platform), which it creates if there is none. Returns the rows to append. Waits for the sealings of others to be appended.
    pub async fn seal(
        &self,
        sealing: &mut Sealing,
        owner: Option<TenantId>,
        id: impl Into<SecretId>,
        generation: u32,
        secret: &Secret,
    ) -> Result<Vec<SideRow>, VaultError> {
        if sealing.permit.is_none() {
            let permit = timeout(SEALING_WAIT_MAX, Arc::clone(&self.sealing).lock_owned()).await;
            sealing.permit = Some(permit.map_err(|_| LogError::TimedOut(SEALING_WAIT_MAX))?);
        }
        let scope = owner.map_or_else(|| PLATFORM_SCOPE.to_owned(), |tenant| tenant.to_string());
        let (cipher, key_rows) = match (sealing.ciphers.get(&scope), owner) {
            (Some(cipher), _) => (cipher.clone(), Vec::new()),
            (None, Some(tenant)) => self.tenant_key_to_seal(tenant).await?,
            (None, None) => self.platform_key_to_seal().await?,
        };
        let subject = id.into().to_string();
        let context = secret_context(&scope, &subject, generation);
        let sealed = sealed_box::seal(&cipher, &self.ids.bytes(), &context, secret.reveal().as_bytes());
        let sealed = sealed.ok_or_else(|| VaultError::Unsealable { subject: subject.clone() })?;
        // The old key may still be worth stealing: delete its row.
        let forget = SideRow::DropSealedSecret { subject: subject.clone() };
        let row = SideRow::SealedSecret(SealedSecret { subject, key_scope: scope.clone(), generation, sealed });
        sealing.ciphers.insert(scope, cipher);
        Ok(key_rows.into_iter().chain([forget, row]).collect())
    }

    /// The platform's data key, and the row that stores a new one.
    async fn platform_key_to_seal(&self) -> Result<(XChaCha20Poly1305, Vec<SideRow>), VaultError> {
        let stored = self.log.read(|reader| reader.wrapped_key(PLATFORM_SCOPE)).await?;
        let data_key = match stored {
            Some(wrapped) => self.unwrap_data_key(PLATFORM_SCOPE, &wrapped).map(|cipher| (cipher, Vec::new())),
            None => {
                let key = self.first_data_key(PLATFORM_SCOPE);
                let row = sealed_box::wrapped_row(&self.node_key, &self.ids, PLATFORM_SCOPE, &key);
                row.map(|row| (cipher_of(key), vec![row]))
            }
        };
        data_key.ok_or_else(|| VaultError::Unsealable { subject: PLATFORM_SCOPE.to_owned() })
    }

    /// The data key of a scope that has none yet.
    fn first_data_key(&self, scope: &str) -> [u8; 32] {
        if self.log.is_shared() { self.node_key.first_data_key(scope) } else { self.ids.bytes() }
    }

    fn unwrap_data_key(&self, scope: &str, wrapped: &[u8]) -> Option<XChaCha20Poly1305> {
        sealed_box::unwrap(&self.node_key, scope, wrapped).map(cipher_of)
    }
}

fn cipher_of(mut key: [u8; 32]) -> XChaCha20Poly1305 {
    let cipher = XChaCha20Poly1305::new((&key).into());
    wipe(&mut key);
    cipher
}

/// Keeps the newest secret of an id. If there are too many, an arbitrary one makes room.
fn keep(opened: &mut IdMap<SecretId, Opened>, id: SecretId, newest: Opened) {
    match opened.get_mut(&id) {
        Some(known) if known.generation < newest.generation => *known = newest,
        Some(_) => {}
        None => {
            if opened.len() >= OPENED_MAX
                && let Some(any) = opened.keys().next().copied()
            {
                opened.remove(&any);
            }
            opened.insert(id, newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use events::ids::ProviderId;

    use super::*;

    fn opened(generation: u32) -> Opened {
        Opened { generation, secret: Some(Secret::new(format!("k{generation}"))) }
    }

    #[test]
    fn the_newest_key_of_a_provider_is_kept_and_the_number_of_keys_is_bounded() {
        let id = |number: usize| SecretId::from(format!("prv_{number:032x}").parse::<ProviderId>().unwrap());
        let mut kept = IdMap::default();
        for generation in [1, 3, 2] {
            keep(&mut kept, id(0), opened(generation));
        }
        assert_eq!(kept[&id(0)].generation, 3);
        for number in 1..=OPENED_MAX + 5 {
            keep(&mut kept, id(number), opened(1));
        }
        assert_eq!(kept.len(), OPENED_MAX);
        assert!(kept.contains_key(&id(OPENED_MAX + 5)), "the newest is kept");
    }
}

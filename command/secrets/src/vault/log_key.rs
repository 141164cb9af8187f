//! The keys that sign checkpoints of the log. Their seeds are kept wrapped under the node's key, as the check key of API keys is, so
//! that they survive a replacement of the node's key, and their public keys are events. A key that was replaced stays: the checkpoint
//! that leads from it to the next one may still have to be signed.

use events::event::log_key::LogKeyCreated;
use events::event::{Actor, Context, Event, Resource, Stream, StreamKind};
use events_log::{Append, AppendError, LogError, Reader};
use tlog::{KeyName, Signer};

use super::{Vault, VaultError};
use crate::node_key::wipe;
use crate::sealed_box;

/// The scopes under which the keys are stored, with a generation and the log's name: no tenant has such an id.
const SCOPE_PREFIX: &str = "log_key/";
/// Prefix of the name that a log gets if none is given.
const ORIGIN_PREFIX: &str = "ledgerway/";
/// How often a key is looked for that another node may just have made.
const TRIES_MAX: usize = 3;

/// True for a key that must not change when the node's key is replaced: what it has signed is public.
pub(crate) fn is_log_key(scope: &str) -> bool {
    scope.starts_with(SCOPE_PREFIX)
}

fn scope(origin: &str, generation: u32) -> String {
    format!("{SCOPE_PREFIX}{generation}/{origin}")
}

/// The key that signs checkpoints, and all that have.
pub struct LogSigner {
    pub signer: Signer,
    /// Oldest first; the last one is of the signer.
    pub keys: Vec<LogKeyCreated>,
}

/// Checkpoints cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum LogKeyError {
    #[error("the log is called {recorded:?} in its checkpoints, which never changes: it cannot be called {given:?}")]
    OtherOrigin { recorded: String, given: String },
    #[error("the key of the log's checkpoints is damaged")]
    Damaged,
    #[error("the key of the log's checkpoints cannot be made: other nodes make one at the same time")]
    Contended,
    #[error("the log has no key for its checkpoints yet")]
    None,
    /// The key is wrapped under another node's key: nobody else could open the next one.
    #[error("this node does not open the key of the log's checkpoints")]
    NotOpened,
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// The newest key that signs checkpoints. The first one is made here; so is another one if nobody can open the last, because
    /// the node's key was lost. `known` are those that the tables have, and `origin` the name that the log is to have.
    pub async fn log_signer(
        &self,
        mut known: Vec<LogKeyCreated>,
        origin: Option<KeyName>,
    ) -> Result<LogSigner, LogKeyError> {
        for _ in 0..TRIES_MAX {
            let name = match (known.last(), &origin) {
                (Some(newest), Some(given)) if newest.origin != given.as_str() => {
                    let (recorded, given) = (newest.origin.clone(), given.to_string());
                    return Err(LogKeyError::OtherOrigin { recorded, given });
                }
                (Some(newest), _) => newest.origin.clone(),
                (None, Some(given)) => given.to_string(),
                (None, None) => self.default_origin().await?,
            };
            if let Some(newest) = known.last()
                && let Some(signer) = self.open_log_key(newest).await?
            {
                return Ok(LogSigner { signer, keys: known });
            }
            let generation = known.last().map_or(Some(1), next_generation).ok_or(LogKeyError::Damaged)?;
            let made = self.make_signer(&name, generation).await?;
            known = self.log.read(recorded_log_keys).await.map_err(VaultError::from)?;
            let Some(signer) = made.filter(|made| known.iter().any(|key| *key == created(made, generation))) else {
                // Another node was first, maybe with another name.
                continue;
            };
            if generation > 1 {
                tracing::warn!(
                    key = %signer.verifier_key(),
                    "the key that has signed the checkpoints of the log cannot be opened, and another one was made: tell those who check them"
                );
            }
            return Ok(LogSigner { signer, keys: known });
        }
        Err(LogKeyError::Contended)
    }

    /// The same for all nodes of a ledger, and for no other ledger.
    async fn default_origin(&self) -> Result<String, LogKeyError> {
        let tag = self.key_check().await?.sign("the origin of the log");
        Ok(format!("{ORIGIN_PREFIX}{}", events::hex::lower(&tag.as_ref()[..8])))
    }

    /// A key that is recorded; `None` if it does not open, because the node's key was lost since.
    pub async fn open_log_key(&self, created: &LogKeyCreated) -> Result<Option<Signer>, LogKeyError> {
        let scope = scope(&created.origin, created.generation);
        let stored = scope.clone();
        let wrapped = self.log.read(move |reader| reader.wrapped_key(&stored)).await.map_err(VaultError::from)?;
        let Some(mut seed) = wrapped.and_then(|wrapped| sealed_box::unwrap(&self.node_key, &scope, &wrapped)) else {
            return Ok(None);
        };
        let signer = signer(&created.origin, &seed);
        wipe(&mut seed);
        signer
            .filter(|signer| signer.verifier_key().to_string() == created.verifier_key)
            .map(Some)
            .ok_or(LogKeyError::Damaged)
    }

    /// Makes a key and records it; `None` if another node has made one of this generation.
    async fn make_signer(&self, origin: &str, generation: u32) -> Result<Option<Signer>, LogKeyError> {
        let (signer, append) = self.new_log_key(origin, generation)?;
        match self.log.append(append).await {
            Ok(_) => Ok(Some(signer)),
            Err(AppendError::OptimisticLock) => Ok(None),
            Err(AppendError::Unavailable(error)) => Err(VaultError::from(error).into()),
            Err(error) => Err(VaultError::from(LogError::Append(error.to_string())).into()),
        }
    }

    /// The key that follows the newest one of the log of this origin, and what records it, which fails if another one follows it
    /// meanwhile. Nobody has the key before it is recorded.
    pub async fn next_log_key(&self, origin: &str) -> Result<(LogKeyCreated, Append), LogKeyError> {
        let of_log = stream(origin);
        let newest =
            self.log.read(move |reader| reader.last_of_each_type(&of_log, None)).await.map_err(VaultError::from)?;
        let Some(Event::Resource(Resource::LogKeyCreated(newest))) = newest.into_iter().next().map(|last| last.event)
        else {
            return Err(LogKeyError::None);
        };
        self.open_log_key(&newest).await?.ok_or(LogKeyError::NotOpened)?;
        let generation = next_generation(&newest).ok_or(LogKeyError::Damaged)?;
        let (signer, append) = self.new_log_key(origin, generation)?;
        Ok((created(&signer, generation), append))
    }

    /// A new key, and what records it.
    fn new_log_key(&self, origin: &str, generation: u32) -> Result<(Signer, Append), LogKeyError> {
        let mut seed = self.ids.bytes::<32>();
        let row = sealed_box::wrapped_row(&self.node_key, &self.ids, &scope(origin, generation), &seed);
        let signer = signer(origin, &seed);
        wipe(&mut seed);
        let (Some(row), Some(signer)) = (row, signer) else { return Err(LogKeyError::Damaged) };
        let events = vec![Event::Resource(Resource::LogKeyCreated(Box::new(created(&signer, generation))))];
        let (sequence, context) = (u64::from(generation) - 1, Context::of(Actor::System("setup")));
        let append = Append { side: vec![row], ..Append::new(stream(origin), sequence, events, context) };
        Ok((signer, append))
    }
}

/// The keys of a log, oldest first.
pub fn recorded_log_keys(reader: &dyn Reader) -> Result<Vec<LogKeyCreated>, LogError> {
    let mut keys = Vec::new();
    for recorded in reader.administration_after(0)? {
        if let Event::Resource(Resource::LogKeyCreated(created)) = recorded.event
            && created.is_of_log(&keys)
        {
            keys.push(*created);
        }
    }
    Ok(keys)
}

const fn next_generation(newest: &LogKeyCreated) -> Option<u32> {
    newest.generation.checked_add(1)
}

fn stream(origin: &str) -> Stream {
    Stream::new(StreamKind::LogKey, origin)
}

fn signer(origin: &str, seed: &[u8; 32]) -> Option<Signer> {
    Signer::from_seed(origin.parse().ok()?, seed).ok()
}

fn created(signer: &Signer, generation: u32) -> LogKeyCreated {
    let key = signer.verifier_key();
    LogKeyCreated { origin: key.name().to_string(), generation, verifier_key: key.to_string() }
}

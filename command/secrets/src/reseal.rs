//! Replacing the node's key. The check key of API keys is wrapped under the new node's key but stays the same, so that every
//! API key that was issued continues to work. Data keys are new, and their secrets are sealed again: anyone with the old
//! node's key and an old database has the old data keys, and must not be able to open what is sealed later. All changes are
//! one append with their event: before it the old key opens everything, after it the new one does (ADR-0007).

use std::collections::HashMap;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::content::is_content_key;
use events::event::node_key::NodeKeyReplaced;
use events::event::{Actor, Context, Event, Resource, Stream, StreamKind};
use events::ids::{IdMaker, TenantId};
use events_log::{Append, AppendError, Log, LogError, Reader, RegisteredNode, SealedSecret, SideRow, TenantKey};

use super::keyless::{self, KeylessProvider};
use super::node_key::wipe;
use super::sealed_box::{self, secret_context};
use super::secret_id::owners_of;
use super::vault::KEY_CHECK_SCOPE;
use super::vault::log_key::is_log_key;
use super::{KeyCheck, NodeKey};

mod moving_node;

use moving_node::MovingNode;

const ACTOR: Actor = Actor::System("reseal");

/// The node's key was not replaced and nothing has changed, unless the log did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error("the old key does not open the data key {scope}")]
    WrongPreviousKey { scope: String },
    #[error(
        "the secret of {subject} is damaged, and the old key does not open it: give that provider a new API key, or new secret headers, first"
    )]
    Damaged { subject: String },
    #[error("seal the secret of {subject}")]
    Unsealable { subject: String },
    #[error("append the change: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The node's key that is replaced.
#[derive(Clone, Copy)]
pub enum PreviousKey<'a> {
    Known(&'a NodeKey),
    /// Nobody has it: the sealed secrets are given up.
    Lost,
}

/// A finished replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// The position of the event.
    pub position: u64,
    /// Providers whose API keys were sealed again.
    pub resealed: Vec<String>,
    /// Providers whose API keys were given up, since nobody can open them.
    pub discarded: Vec<KeylessProvider>,
}

/// All sealed secrets of a log.
pub struct StoredSecrets {
    /// Keys by scope, wrapped under the node's key.
    wrapped: Vec<(String, Vec<u8>)>,
    secrets: Vec<SealedSecret>,
    /// Keys of tenants, wrapped to nodes.
    tenant_keys: Vec<TenantKey>,
    nodes: Vec<RegisteredNode>,
}

impl StoredSecrets {
    /// Blocking.
    pub fn read(reader: &dyn Reader) -> Result<Self, LogError> {
        Ok(Self {
            wrapped: reader.wrapped_keys()?,
            secrets: reader.sealed_secrets()?,
            tenant_keys: reader.tenant_keys()?,
            nodes: reader.nodes()?,
        })
    }

    /// Returns whether the log can tell a right node's key from a wrong one. It can from the first start of this version on
    /// the folder.
    pub const fn has_wrapped_keys(&self) -> bool {
        !self.wrapped.is_empty()
    }

    /// Returns whether every wrapped key opens under this node's key.
    pub fn opens_under(&self, key: &NodeKey) -> bool {
        self.has_wrapped_keys()
            && self.wrapped.iter().all(|(scope, wrapped)| sealed_box::unwrap(key, scope, wrapped).is_some())
    }

    /// The replacement that put `key` in force; `None` if `key` has been in force from the beginning. Call it only for the key
    /// that everything is sealed under. Blocking.
    pub fn replacement_by(reader: &dyn Reader, key: &NodeKey) -> Result<Option<NodeKeyReplaced>, LogError> {
        let newest = reader.stream(&stream_of_replacements(key))?.pop();
        Ok(newest.and_then(|recorded| match recorded.event {
            Event::Resource(Resource::NodeKeyReplaced(replaced)) => Some(*replaced),
            _ => None,
        }))
    }

    /// The rows that replace all of them, with the same secrets.
    fn resealed_under(&self, previous: &NodeKey, new: &NodeKey, ids: &IdMaker) -> Result<Vec<SideRow>, ResealError> {
        let mut rows = Vec::with_capacity(self.wrapped.len() + 2 * self.secrets.len());
        let mut data_keys = HashMap::with_capacity(self.wrapped.len());
        let check = self.check_key(previous)?;
        let moving = MovingNode::new(&check, ids, previous, new, &self.nodes);
        for (scope, wrapped) in &self.wrapped {
            let old = sealed_box::unwrap(previous, scope, wrapped);
            let mut old = old.ok_or_else(|| ResealError::WrongPreviousKey { scope: scope.clone() })?;
            let mut key = if scope == KEY_CHECK_SCOPE || is_log_key(scope) { old } else { ids.bytes() };
            match scope.parse() {
                // A tenant's key of an earlier version.
                Ok(tenant) => {
                    rows.push(SideRow::DropWrappedKey { scope: scope.clone() });
                    rows.extend(moving.grants(tenant, &key)?);
                }
                Err(_) => rows.push(wrapped_row(new, scope, &key, ids)?),
            }
            let ciphers = [old, key].map(|key| XChaCha20Poly1305::new((&key).into()));
            data_keys.insert(scope.clone(), ciphers);
            wipe(&mut old);
            wipe(&mut key);
        }
        for (tenant, mut old) in moving.opened(&self.tenant_keys)? {
            let mut key = ids.bytes();
            let copies = self.tenant_keys.iter().filter(|row| row.tenant == tenant.to_string());
            rows.extend(
                copies.map(|row| SideRow::DropTenantKey { tenant: row.tenant.clone(), node: row.node.clone() }),
            );
            rows.extend(moving.grants(tenant, &key)?);
            let ciphers = [old, key].map(|key| XChaCha20Poly1305::new((&key).into()));
            data_keys.insert(tenant.to_string(), ciphers);
            wipe(&mut old);
            wipe(&mut key);
        }
        rows.extend(moving.registration(&self.nodes));
        for secret in self.secrets_of(previous) {
            let subject = || secret.subject.clone();
            let damaged = || ResealError::Damaged { subject: subject() };
            let [old, key] = data_keys.get(secret.key_scope.as_str()).ok_or_else(damaged)?;
            let context = secret_context(&secret.key_scope, &secret.subject, secret.generation);
            let mut plain = sealed_box::open(old, &context, &secret.sealed).ok_or_else(damaged)?;
            let sealed = sealed_box::seal(key, &ids.bytes(), &context, &plain);
            wipe(&mut plain);
            let sealed = sealed.ok_or_else(|| ResealError::Unsealable { subject: subject() })?;
            rows.push(SideRow::SealedSecret(SealedSecret { sealed, ..secret.clone() }));
        }
        Ok(rows)
    }

    /// The check key of API keys, which stays.
    fn check_key(&self, previous: &NodeKey) -> Result<KeyCheck, ResealError> {
        let Some((scope, wrapped)) = self.wrapped.iter().find(|(scope, _)| scope == KEY_CHECK_SCOPE) else {
            return Ok(previous.derived_key_check());
        };
        let key = sealed_box::unwrap(previous, scope, wrapped);
        let mut key = key.ok_or_else(|| ResealError::WrongPreviousKey { scope: scope.clone() })?;
        let check = KeyCheck::from_bytes(&key);
        wipe(&mut key);
        Ok(check)
    }

    /// The secrets that are sealed again: all but those that were given up, and those of tenants whose keys only other nodes
    /// have.
    fn secrets_of(&self, previous: &NodeKey) -> impl Iterator<Item = &SealedSecret> {
        let own = previous.fingerprint();
        let is_others = move |scope: &str| {
            let mut copies = self.tenant_keys.iter().filter(|row| row.tenant == scope).peekable();
            copies.peek().is_some() && copies.all(|row| row.node != own)
        };
        self.secrets.iter().filter(move |secret| !secret.is_given_up() && !is_others(&secret.key_scope))
    }

    /// The rows that replace all of them if nobody has the old key.
    fn given_up(&self, new: &NodeKey, ids: &IdMaker) -> Result<Vec<SideRow>, ResealError> {
        let mut rows = vec![wrapped_row(new, KEY_CHECK_SCOPE, &ids.bytes(), ids)?];
        for (scope, _) in self.wrapped.iter().filter(|(scope, _)| scope != KEY_CHECK_SCOPE) {
            rows.push(match scope.parse::<TenantId>() {
                Ok(_) => SideRow::DropWrappedKey { scope: scope.clone() },
                // The next start makes another one, which is on the record.
                Err(_) if is_log_key(scope) => SideRow::DropWrappedKey { scope: scope.clone() },
                Err(_) => wrapped_row(new, scope, &ids.bytes(), ids)?,
            });
        }
        // The next secret of a tenant makes a new key. No registration is genuine any more.
        rows.extend(
            self.tenant_keys
                .iter()
                .map(|row| SideRow::DropTenantKey { tenant: row.tenant.clone(), node: row.node.clone() }),
        );
        rows.extend(self.nodes.iter().map(|node| SideRow::DropNode { node: node.node.clone() }));
        // A row stays for each provider: without one, its requests would go out without credentials.
        let is_of_content = |secret: &&SealedSecret| is_content_key(&secret.subject);
        rows.extend(self.secrets.iter().filter(is_of_content).map(|secret| {
            // What it sealed is lost, and the next request makes another one.
            SideRow::DropSealedSecret { subject: secret.subject.clone() }
        }));
        let others = self.secrets.iter().filter(|secret| !is_of_content(secret));
        rows.extend(others.map(|secret| SideRow::SealedSecret(secret.given_up())));
        Ok(rows)
    }
}

/// A replacement that is decided and not recorded.
pub struct Replacement {
    /// The event, and the rows with everything under the new key.
    pub append: Append,
    /// The same as in [`Resealed`].
    pub resealed: Vec<String>,
    pub discarded: Vec<KeylessProvider>,
}

impl Replacement {
    /// Seals `stored` again under `new`. If the `previous` key is lost, the sealed secrets are given up, and the API keys that
    /// were issued no longer pass their check. Blocking.
    ///
    /// Whoever appends it must make sure that nothing was sealed since `stored` was read, and must have saved `new` where the
    /// next start finds it: after the append, no other key opens the secrets.
    pub fn decide(
        reader: &dyn Reader,
        stored: &StoredSecrets,
        previous: PreviousKey<'_>,
        new: &NodeKey,
        ids: &IdMaker,
    ) -> Result<Self, ResealError> {
        let subjects = |secrets: &mut dyn Iterator<Item = &SealedSecret>| -> Vec<String> {
            let of_providers = secrets.filter(|secret| !is_content_key(&secret.subject));
            owners_of(of_providers.map(|secret| &*secret.subject))
        };
        let (side, before, resealed, discarded) = match previous {
            PreviousKey::Known(key) => {
                let resealed = subjects(&mut stored.secrets_of(key));
                (stored.resealed_under(key, new, ids)?, Some(key.fingerprint()), resealed, Vec::new())
            }
            PreviousKey::Lost => {
                let subjects = subjects(&mut stored.secrets.iter().filter(|secret| !secret.is_given_up()));
                (stored.given_up(new, ids)?, None, Vec::new(), keyless::with_names(reader, subjects)?)
            }
        };
        let replaced = NodeKeyReplaced {
            node_key: new.fingerprint(),
            previous: before,
            resealed: resealed.len() as u64,
            discarded: discarded.len() as u64,
        };
        let stream = stream_of_replacements(new);
        // The stream may have events: the key may have been in use before.
        let expected_sequence = reader.stream(&stream)?.len() as u64;
        let events = vec![Event::Resource(Resource::NodeKeyReplaced(Box::new(replaced)))];
        let append = Append { side, ..Append::new(stream, expected_sequence, events, Context::of(ACTOR)) };
        Ok(Self { append, resealed, discarded })
    }
}

/// Decides and records a replacement in a log that nobody else uses: the caller must hold the folder's lock.
pub async fn reseal(
    log: &Log,
    stored: &StoredSecrets,
    previous: PreviousKey<'_>,
    new: &NodeKey,
    ids: &IdMaker,
) -> Result<Resealed, ResealError> {
    let Replacement { append, resealed, discarded } = Replacement::decide(&*log.reader()?, stored, previous, new, ids)?;
    let position = log.append(append).await?.last;
    Ok(Resealed { position, resealed, discarded })
}

/// The stream of the events that put this key in force.
fn stream_of_replacements(key: &NodeKey) -> Stream {
    Stream::new(StreamKind::NodeKey, key.fingerprint())
}

fn wrapped_row(new: &NodeKey, scope: &str, key: &[u8; 32], ids: &IdMaker) -> Result<SideRow, ResealError> {
    let row = sealed_box::wrapped_row(new, ids, scope, key);
    row.ok_or_else(|| ResealError::Unsealable { subject: scope.to_owned() })
}

#[cfg(test)]
mod tests;

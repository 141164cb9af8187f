//! Replacing the node's key. The key that API keys are checked with is wrapped anew under the new one and stays what it is,
//! so that every key that was given out goes on working. Data keys are made anew and what they seal is sealed anew: whoever
//! had the old key and an old database has the old data keys, and must not be able to open what is sealed later. All of it is
//! one append, with the event that says so: before it the old key opens everything, behind it the new one does.

use std::collections::HashMap;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use events::event::node_key::NodeKeyReplaced;
use events::event::{Actor, Context, Event, Resource, Stream, StreamKind};
use events::ids::IdMaker;
use events::log::{Append, AppendError, Basis, Log, LogError, SealedSecret, SideRow};

use super::NodeKey;
use super::boxes::{self, secret_binding};
use super::keyless::{self, KeylessProvider};
use super::node_key::wipe;
use super::vault::KEY_CHECK_SCOPE;

const ACTOR: Actor = Actor::System("reseal");

/// The key before.
#[derive(Clone, Copy, Debug)]
pub enum Previous<'a> {
    Key(&'a NodeKey),
    /// Nobody has it any more: what is sealed is lost, and so are the checks of the API keys that were given out.
    Lost,
}

/// The node's key cannot be replaced; nothing was changed, unless the log did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error("the old key does not open the data key {scope}")]
    WrongPrevious { scope: String },
    #[error("the old key does not open the API key of {subject}, which is damaged: give that provider a new one first")]
    Damaged { subject: String },
    #[error("seal the API key of {subject}")]
    Unsealable { subject: String },
    #[error("append the change: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// Of the event.
    pub position: u64,
    /// Providers whose API keys were sealed anew.
    pub resealed: Vec<String>,
    /// Providers whose API keys were deleted, since nobody can open them any more.
    pub discarded: Vec<KeylessProvider>,
}

/// All that a log holds sealed.
pub struct Stored {
    /// By scope, under the node's key.
    wrapped: Vec<(String, Vec<u8>)>,
    secrets: Vec<SealedSecret>,
}

impl Stored {
    pub async fn read(log: &Log) -> Result<Self, LogError> {
        log.read(|reader| Ok(Self { wrapped: reader.wrapped_keys()?, secrets: reader.sealed_secrets()? })).await
    }

    /// Whether there is what tells a right node's key from a wrong one. A gateway of this version has it from its first
    /// start on the folder.
    pub const fn can_tell(&self) -> bool {
        !self.wrapped.is_empty()
    }

    /// Whether every wrapped key opens under this node's.
    pub fn is_under(&self, key: &NodeKey) -> bool {
        self.can_tell() && self.wrapped.iter().all(|(scope, wrapped)| boxes::unwrap(key, scope, wrapped).is_some())
    }

    /// The newest replacement of the node's key, where it put `key` in force; `None` where `key` has been in force from the
    /// beginning. Only for a key that everything is sealed under.
    pub async fn replacement_by(log: &Log, key: &NodeKey) -> Result<Option<NodeKeyReplaced>, LogError> {
        let stream = stream_of(key);
        let newest = log.read(move |reader| Ok(reader.stream(&stream)?.pop())).await?;
        Ok(newest.and_then(|recorded| match recorded.event {
            Event::Resource(Resource::NodeKeyReplaced(replaced)) => Some(*replaced),
            _ => None,
        }))
    }

    /// What replaces it all.
    fn sealed_under(&self, previous: &NodeKey, new: &NodeKey, ids: &IdMaker) -> Result<Vec<SideRow>, ResealError> {
        let mut rows = Vec::with_capacity(self.wrapped.len() + 2 * self.secrets.len());
        let mut data_keys = HashMap::with_capacity(self.wrapped.len());
        for (scope, wrapped) in &self.wrapped {
            let old = boxes::unwrap(previous, scope, wrapped);
            let mut old = old.ok_or_else(|| ResealError::WrongPrevious { scope: scope.clone() })?;
            let mut key = if scope == KEY_CHECK_SCOPE { old } else { ids.bytes() };
            rows.push(wrapped_row(new, scope, &key, ids)?);
            let ciphers = [old, key].map(|key| XChaCha20Poly1305::new((&key).into()));
            data_keys.insert(scope.as_str(), ciphers);
            wipe(&mut old);
            wipe(&mut key);
        }
        for secret in self.secrets.iter().filter(|secret| !secret.is_given_up()) {
            let subject = || secret.subject.clone();
            let damaged = || ResealError::Damaged { subject: subject() };
            let [old, key] = data_keys.get(secret.key_scope.as_str()).ok_or_else(damaged)?;
            let bound = secret_binding(&secret.key_scope, &secret.subject, secret.generation);
            let mut plain = boxes::open(old, &bound, &secret.sealed).ok_or_else(damaged)?;
            let sealed = boxes::make(key, &ids.bytes(), &bound, &plain);
            wipe(&mut plain);
            let sealed = sealed.ok_or_else(|| ResealError::Unsealable { subject: subject() })?;
            rows.push(SideRow::SealedSecret(SealedSecret { sealed, ..secret.clone() }));
        }
        Ok(rows)
    }

    /// What replaces it where nobody has the old key.
    fn begun_anew(&self, new: &NodeKey, ids: &IdMaker) -> Result<Vec<SideRow>, ResealError> {
        let mut rows = vec![wrapped_row(new, KEY_CHECK_SCOPE, &ids.bytes(), ids)?];
        for (scope, _) in self.wrapped.iter().filter(|(scope, _)| scope != KEY_CHECK_SCOPE) {
            rows.push(wrapped_row(new, scope, &ids.bytes(), ids)?);
        }
        // Without a trace of it, a provider's requests would go out without a key.
        rows.extend(self.secrets.iter().map(|secret| SideRow::SealedSecret(secret.given_up())));
        Ok(rows)
    }
}

/// Seals anew under `new` what `stored` is. Whoever calls it has the folder to itself, and `new` stands where it is found
/// again: behind the append nothing else opens what is sealed.
pub async fn reseal(
    log: &Log,
    stored: &Stored,
    previous: Previous<'_>,
    new: &NodeKey,
    ids: &IdMaker,
) -> Result<Resealed, ResealError> {
    let secrets = stored.secrets.iter().filter(|secret| !secret.is_given_up());
    let subjects: Vec<String> = secrets.map(|secret| secret.subject.clone()).collect();
    let (side, before, resealed, discarded) = match previous {
        Previous::Key(key) => (stored.sealed_under(key, new, ids)?, Some(key.fingerprint()), subjects, Vec::new()),
        Previous::Lost => {
            let discarded = log.read(move |reader| keyless::named(reader, subjects)).await?;
            (stored.begun_anew(new, ids)?, None, Vec::new(), discarded)
        }
    };
    let replaced = NodeKeyReplaced {
        node_key: new.fingerprint(),
        previous: before,
        resealed: resealed.len() as u64,
        discarded: discarded.len() as u64,
    };
    let stream = stream_of(new);
    let of_stream = stream.clone();
    // It may be a key that was in use before.
    let expected_sequence = log.read(move |reader| Ok(reader.stream(&of_stream)?.len() as u64)).await?;
    let append = Append {
        stream,
        expected_sequence,
        events: vec![Event::Resource(Resource::NodeKeyReplaced(Box::new(replaced)))],
        context: Context::of(ACTOR),
        side,
        idempotency: None,
        basis: Basis::default(),
    };
    let position = log.append(append).await?.last;
    Ok(Resealed { position, resealed, discarded })
}

/// Where the replacements by this key stand.
fn stream_of(key: &NodeKey) -> Stream {
    Stream::new(StreamKind::NodeKey, key.fingerprint())
}

fn wrapped_row(new: &NodeKey, scope: &str, key: &[u8; 32], ids: &IdMaker) -> Result<SideRow, ResealError> {
    let wrapped = boxes::wrap(new, &ids.bytes(), scope, key);
    let wrapped = wrapped.ok_or_else(|| ResealError::Unsealable { subject: scope.to_owned() })?;
    Ok(SideRow::WrappedKey { scope: scope.to_owned(), wrapped })
}

#[cfg(test)]
mod tests;

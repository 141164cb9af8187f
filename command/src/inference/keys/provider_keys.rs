//! The keys of providers that have several: which one a request is sent with, and what becomes of one that its provider does
//! not accept.
//!
//! A key that is refused, or whose account has no money left, is set aside by an event, once however many requests meet the
//! refusal, and the request goes on with another key. Whether a key is set aside is read from the tables, so it is the same
//! for all nodes and survives a restart. What is learned while requests run stays in this node's memory: the counts of the
//! keys' own limits, what providers say of theirs, which keys were not accepted by the last requests, and when a key is tried
//! again. It only orders the keys, and is bounded by their number.
//!
//! A provider without provider keys is not in here at all.

mod attempts;
mod choice;
mod key_use;
mod recording;
pub mod remedy;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use dialects::provider_dialects::KeyBlame;
use events::event::admin::{Provider, ProviderKey, UpstreamKey};
use events::ids::{IdMaker, IdMap};
use events::time::Clock;
use events_log::Log;
use projections::tables::{Tables, TablesHandle};
use tokio_util::task::TaskTracker;

use crate::admin::base_url;
use choice::{Candidate, choose};
use key_use::KeyUse;

use super::access_tokens::KeyGeneration;
pub use attempts::{KeyAttempts, KeyFailure, NextKey};
pub use choice::{Choice, Choosable};
pub use key_use::KeyPermit;

/// The keys of all providers that have several. One for the whole process.
pub struct ProviderKeys {
    log: Log,
    tables: TablesHandle,
    clock: Arc<dyn Clock>,
    ids: IdMaker,
    uses: Mutex<IdMap<UpstreamKey, KeyUse>>,
    /// Each recording is a task of its own, so that it outlives the request that met the refusal.
    recordings: TaskTracker,
}

/// A key of a provider as the tables have it.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub key: UpstreamKey,
    pub generation: u32,
    weight: u32,
    /// `None` for the provider's own key, which has no limits here.
    further: Option<Arc<ProviderKey>>,
    /// In the tables.
    is_set_aside: bool,
    /// When it was set aside, in seconds since 1970.
    set_aside_seconds: i64,
}

impl KeyRow {
    pub const fn key_generation(&self) -> KeyGeneration {
        KeyGeneration { key: self.key, generation: self.generation }
    }
}

impl ProviderKeys {
    pub fn new(log: Log, tables: TablesHandle, clock: Arc<dyn Clock>, ids: IdMaker) -> Arc<Self> {
        Arc::new(Self { log, tables, clock, ids, uses: Mutex::default(), recordings: TaskTracker::new() })
    }

    /// The keys that may be sent to the provider's address: its own, if it `has_own`, and those that were given for the same
    /// scheme, host and port.
    pub fn rows(tables: &Tables, provider: &Provider, has_own: bool) -> Vec<KeyRow> {
        let row = |key, generation, weight, further| {
            let set_aside = tables.set_aside(key, generation);
            let set_aside_seconds = set_aside.map_or(0, |set_aside| set_aside.since.timestamp());
            KeyRow { key, generation, weight, further, is_set_aside: set_aside.is_some(), set_aside_seconds }
        };
        let own = has_own.then(|| {
            row(UpstreamKey::Own(provider.provider_id), provider.secret_generation, ProviderKey::WEIGHT, None)
        });
        let further = tables.provider_keys_of(provider.provider_id).filter(|key| may_be_sent_to(provider, key));
        let further = further.map(|key| {
            let id = UpstreamKey::Further(key.provider_key_id);
            row(id, key.secret_generation, key.weight, Some(Arc::clone(key)))
        });
        own.into_iter().chain(further).collect()
    }

    /// Chooses one of these keys, and counts the request against its limits until the permit is dropped. `tokens` is what
    /// the request's prompt is likely to have.
    pub fn acquire(self: &Arc<Self>, rows: &[KeyRow], choosable: Choosable, tokens: u64) -> Result<KeyPermit, Choice> {
        let drawn = u64::from_le_bytes(self.ids.bytes());
        let mut uses = self.uses();
        let choice = choose(&self.candidates(&mut uses, rows), choosable, drawn);
        let row = match choice {
            Choice::Key(at) => rows.get(at).ok_or(Choice::None)?,
            Choice::AtLimit(_) | Choice::None => return Err(choice),
        };
        let key_use = uses.entry(row.key).or_default();
        let begun = key_use.begin(row, tokens, self.clock.monotonic());
        Ok(KeyPermit::new(Arc::clone(self), row, begun))
    }

    /// When a request tries a key again that is set aside, in whole seconds; `None` if the next one does. Asking changes nothing.
    pub fn tried_again_at(&self, row: &KeyRow) -> Option<DateTime<Utc>> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let at = match self.uses().get(&row.key) {
            Some(key_use) => key_use.tried_again_at(row, now, wall.timestamp()),
            None => KeyUse::default().tried_again_at(row, now, wall.timestamp()),
        };
        let wait = at.checked_sub(now).filter(|wait| !wait.is_zero())?;
        Some((wall + wait).trunc_subsecs(0))
    }

    /// Returns the choice that would be made, without making it.
    fn outlook(&self, rows: &[KeyRow], choosable: Choosable) -> Choice {
        choose(&self.candidates(&mut self.uses(), rows), choosable, 0)
    }

    fn candidates(&self, uses: &mut IdMap<UpstreamKey, KeyUse>, rows: &[KeyRow]) -> Vec<Candidate> {
        let (now, wall_seconds) = (self.clock.monotonic(), self.clock.now().timestamp());
        let candidate = |row: &KeyRow| {
            let key_use = uses.entry(row.key).or_default();
            let standing = key_use.standing(row, now, wall_seconds);
            Candidate { weight: row.weight, standing, accepted: key_use.accepted_since(row) }
        };
        rows.iter().map(candidate).collect()
    }

    /// Remembers that little or nothing is left of the key's limits at its provider for some time.
    fn is_short(&self, key: UpstreamKey, lasts: Duration) {
        let until = self.clock.monotonic().saturating_add(lasts);
        self.uses().entry(key).or_default().short_until(until);
    }

    /// Remembers that the provider has just accepted the key.
    fn was_accepted(&self, key: UpstreamKey) {
        let now = self.clock.monotonic();
        self.uses().entry(key).or_default().was_accepted(now);
    }

    /// Remembers that the provider has refused a key that is set aside.
    fn was_refused_again(&self, key: UpstreamKey) {
        self.uses().entry(key).or_default().accepted = None;
    }

    /// Counts a request for which the provider did not accept the key, and which may be to blame itself. True after many in a
    /// row with the same blame.
    fn doubt(&self, key: UpstreamKey, generation: u32, blame: KeyBlame) -> bool {
        let now = self.clock.monotonic();
        self.uses().entry(key).or_default().doubt(generation, blame, now)
    }

    /// True if each of a provider's keys is set aside or doubted because of a sentence, one of them for many requests. Once, until
    /// a key is accepted.
    fn finds_none_accepted(&self, rows: &[KeyRow]) -> bool {
        let mut uses = self.uses();
        let mut is_any =
            |is_so: fn(&KeyUse, &KeyRow) -> bool| rows.iter().any(|row| is_so(uses.entry(row.key).or_default(), row));
        let is_new = is_any(KeyUse::is_refused_untold) && !is_any(KeyUse::may_be_accepted);
        if is_new {
            for row in rows {
                uses.entry(row.key).or_default().tell();
            }
        }
        is_new
    }

    fn uses(&self) -> MutexGuard<'_, IdMap<UpstreamKey, KeyUse>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets keys soon after they have ended. Runs until the tables end.
    pub async fn follow(self: Arc<Self>, mut tables: TablesHandle) {
        while tables.changed_for_a_while().await {
            let tables = tables.load();
            self.uses().retain(|key, key_use| key_use.is_running() || tables.secret_generation(*key).is_some());
        }
    }
}

/// True if the key was given for the provider's scheme, host and port.
fn may_be_sent_to(provider: &Provider, key: &ProviderKey) -> bool {
    let address = provider.base_url.as_deref();
    address.is_some_and(|address| address == key.given_for || base_url::same_origin(address, &key.given_for))
}

#[cfg(test)]
mod tests;

//! The slots of all limits. A slot is created when its limit first binds a request. It is dropped when it counts nothing, or
//! when its limit or key has ended.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::event::admin::Scope;
use events::ids::{IdMap, KeyId, LimitId, shard_of};
use projections::tables::{Entry, Tables};

use super::slot::Slot;

const SHARDS: usize = 16;
/// How often a shard in use drops its idle slots.
const PRUNE_EVERY_MICROS: i64 = 60_000_000;
/// From this size on, a shard also drops them whenever it has doubled.
const SLOTS_BEFORE_PRUNING: usize = 64;

/// The limit that a slot counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Limit(LimitId),
    /// The default limit of a key that has none of its own.
    DefaultOf(KeyId),
    /// The default limit on administration by a key; `None` is the operator.
    AdminDefaultOf(Option<KeyId>),
}

/// The name of the limit in Redis.
impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(id) => id.fmt(f),
            Self::DefaultOf(key) => write!(f, "default:{key}"),
            Self::AdminDefaultOf(Some(key)) => write!(f, "admin_default:{key}"),
            Self::AdminDefaultOf(None) => f.write_str("admin_default:operator"),
        }
    }
}

/// The content of a slot: the counts of one limit.
pub(super) trait Counts {
    /// Returns whether it counts nothing at `now`.
    fn is_idle(&self, now_micros: i64) -> bool;
}

impl Counts for Slot {
    fn is_idle(&self, now_micros: i64) -> bool {
        Self::is_idle(self, now_micros)
    }
}

struct Shard<C> {
    slots: IdMap<SlotKey, Arc<Mutex<C>>>,
    pruned_micros: i64,
    /// Slots after the last pruning.
    kept: usize,
}

impl<C> Default for Shard<C> {
    fn default() -> Self {
        Self { slots: IdMap::default(), pruned_micros: 0, kept: 0 }
    }
}

pub(super) struct Slots<C> {
    shards: [Mutex<Shard<C>>; SHARDS],
}

impl<C> Default for Slots<C> {
    fn default() -> Self {
        Self { shards: Default::default() }
    }
}

impl<C: Counts> Slots<C> {
    /// The slot, made if there is none. `tables` tells which limits and keys have ended.
    pub(super) fn get_or_make(
        &self,
        key: SlotKey,
        tables: &Tables,
        now_micros: i64,
        make: impl FnOnce() -> C,
    ) -> Arc<Mutex<C>> {
        let mut shard = self.shard(key);
        let is_large = shard.slots.len() >= SLOTS_BEFORE_PRUNING.max(shard.kept * 2) && !shard.slots.contains_key(&key);
        if is_large || now_micros.saturating_sub(shard.pruned_micros) >= PRUNE_EVERY_MICROS {
            shard.prune(tables, now_micros);
        }
        Arc::clone(shard.slots.entry(key).or_insert_with(|| Arc::new(Mutex::new(make()))))
    }

    /// The slot, if there is one.
    pub(super) fn get(&self, key: SlotKey) -> Option<Arc<Mutex<C>>> {
        self.shard(key).slots.get(&key).map(Arc::clone)
    }

    /// All slots that there are now.
    pub(super) fn all(&self) -> Vec<(SlotKey, Arc<Mutex<C>>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.slots.iter().map(|(key, slot)| (*key, Arc::clone(slot))));
        }
        all
    }

    fn shard(&self, key: SlotKey) -> MutexGuard<'_, Shard<C>> {
        self.shards[shard_of(&key, SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("unpoisoned").slots.len()).sum()
    }
}

impl<C: Counts> Shard<C> {
    fn prune(&mut self, tables: &Tables, now_micros: i64) {
        self.slots.retain(|key, slot| {
            // A slot in use has a second holder. No other can appear meanwhile: the shard is locked.
            let Some(slot) = Arc::get_mut(slot) else { return true };
            let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
            !slot.is_idle(now_micros) && is_live(*key, tables)
        });
        self.pruned_micros = now_micros;
        self.kept = self.slots.len();
        self.slots.shrink_to(self.kept * 2);
    }
}

/// True if neither the limit nor its key or its team has ended.
fn is_live(key: SlotKey, tables: &Tables) -> bool {
    let key_is_live = |id| tables.key(id).is_some_and(|entry| entry.ended_at.is_none());
    match key {
        SlotKey::Limit(id) => tables.rate_limit(id).filter(|entry| Entry::is_live(entry)).is_some_and(|entry| {
            match entry.value.scope.owner {
                Scope::Key(id) => key_is_live(id),
                Scope::Team(id) => tables.team(id).is_some_and(Entry::is_live),
                Scope::Partner(_) | Scope::Tenant(_) | Scope::User(_) => true,
            }
        }),
        SlotKey::DefaultOf(id) | SlotKey::AdminDefaultOf(Some(id)) => key_is_live(id),
        SlotKey::AdminDefaultOf(None) => true,
    }
}

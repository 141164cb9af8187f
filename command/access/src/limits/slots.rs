//! The slots of all limits. A slot is created when its limit first binds a request. It is dropped when it counts nothing, or
//! when its limit or key has ended.

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

/// What a slot counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Limit(LimitId),
    /// The default limit of a key that has none of its own.
    DefaultOf(KeyId),
    /// The default limit on administration by a key; `None` is the operator.
    AdminDefaultOf(Option<KeyId>),
}

pub(super) type SharedSlot = Arc<Mutex<Slot>>;

#[derive(Default)]
struct Shard {
    slots: IdMap<SlotKey, SharedSlot>,
    pruned_micros: i64,
    /// Slots after the last pruning.
    kept: usize,
}

#[derive(Default)]
pub(super) struct Slots {
    shards: [Mutex<Shard>; SHARDS],
}

impl Slots {
    /// The slot, created if there is none. `tables` tells which limits and keys have ended.
    pub(super) fn get_or_make(&self, key: SlotKey, tables: &Tables, now_micros: i64) -> SharedSlot {
        let mut shard = self.shard(key);
        let is_large = shard.slots.len() >= SLOTS_BEFORE_PRUNING.max(shard.kept * 2) && !shard.slots.contains_key(&key);
        if is_large || now_micros.saturating_sub(shard.pruned_micros) >= PRUNE_EVERY_MICROS {
            shard.prune(tables, now_micros);
        }
        Arc::clone(shard.slots.entry(key).or_default())
    }

    /// The slot, if there is one.
    pub(super) fn get(&self, key: SlotKey) -> Option<SharedSlot> {
        self.shard(key).slots.get(&key).map(Arc::clone)
    }

    fn shard(&self, key: SlotKey) -> MutexGuard<'_, Shard> {
        self.shards[shard_of(&key, SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("unpoisoned").slots.len()).sum()
    }
}

impl Shard {
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

/// True if neither the limit nor its key has ended.
fn is_live(key: SlotKey, tables: &Tables) -> bool {
    let key_is_live = |id| tables.key(id).is_some_and(|entry| entry.ended_at.is_none());
    match key {
        SlotKey::Limit(id) => {
            tables.rate_limit(id).filter(|entry| Entry::is_live(entry)).is_some_and(|entry| match entry.value.scope {
                Scope::Key(id) => key_is_live(id),
                Scope::Partner(_) | Scope::Tenant(_) | Scope::User(_) => true,
            })
        }
        SlotKey::DefaultOf(id) | SlotKey::AdminDefaultOf(Some(id)) => key_is_live(id),
        SlotKey::AdminDefaultOf(None) => true,
    }
}

//! Where every limit's counts are found. A slot is made when its limit first binds a request and dropped when it counts
//! nothing any more, or when what it counted for has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::event::admin::Scope;
use events::ids::{IdMap, KeyId, LimitId, shard_of};
use projections::tables::{Entry, Tables};

use super::slot::Slot;

const SHARDS: usize = 16;
/// How often a shard that is in use drops what is idle.
const PRUNE_EVERY_MICROS: i64 = 60_000_000;
/// It does so as well when it has doubled since the last time, from this many on.
const SLOTS_BEFORE_PRUNING: usize = 64;

/// Whose counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Limit(LimitId),
    /// Of a key that has no limit of its own.
    DefaultOf(KeyId),
    /// Of a key on the administration; the operator's where there is none.
    AdminDefaultOf(Option<KeyId>),
}

pub(super) type SharedSlot = Arc<Mutex<Slot>>;

#[derive(Default)]
struct Shard {
    slots: IdMap<SlotKey, SharedSlot>,
    pruned_micros: i64,
    kept: usize,
}

pub(super) struct Slots {
    shards: [Mutex<Shard>; SHARDS],
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The slot, made where there is none. `tables` know what has ended.
    pub(super) fn get_or_make(&self, key: SlotKey, tables: &Tables, now_micros: i64) -> SharedSlot {
        let mut shard = self.shard(key);
        let is_large = shard.slots.len() >= SLOTS_BEFORE_PRUNING.max(shard.kept * 2) && !shard.slots.contains_key(&key);
        if is_large || now_micros.saturating_sub(shard.pruned_micros) >= PRUNE_EVERY_MICROS {
            shard.prune(tables, now_micros);
        }
        Arc::clone(shard.slots.entry(key).or_default())
    }

    /// The slot where there is one.
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
            // Who works with it holds it, and nobody else can get it meanwhile.
            let Some(slot) = Arc::get_mut(slot) else { return true };
            let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
            !slot.is_idle(now_micros) && lives(*key, tables)
        });
        self.pruned_micros = now_micros;
        self.kept = self.slots.len();
        self.slots.shrink_to(self.kept * 2);
    }
}

/// Neither the limit nor the key that it is for has ended.
fn lives(key: SlotKey, tables: &Tables) -> bool {
    let key_lives = |id| tables.key(id).is_some_and(|entry| entry.ended_at.is_none());
    match key {
        SlotKey::Limit(id) => {
            tables.rate_limit(id).filter(|entry| Entry::is_live(entry)).is_some_and(|entry| match entry.value.scope {
                Scope::Key(id) => key_lives(id),
                Scope::Partner(_) | Scope::Tenant(_) | Scope::User(_) => true,
            })
        }
        SlotKey::DefaultOf(id) | SlotKey::AdminDefaultOf(Some(id)) => key_lives(id),
        SlotKey::AdminDefaultOf(None) => true,
    }
}

//! A persistent map, cheap to copy and to change a little. It consists of shards; a change copies one of them if a
//! published copy still uses it.

use std::hash::Hash;
use std::sync::Arc;

use events::ids::{IdMap, shard_of};

const SHARDS: usize = 64;

type Shard<K, V> = Arc<IdMap<K, Arc<V>>>;

pub struct SharedMap<K, V> {
    shards: Arc<[Shard<K, V>]>,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { shards: Arc::clone(&self.shards) }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }
}

impl<K: Hash + Eq + Clone, V> SharedMap<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(shard_of(key, SHARDS))?.get(key).map(AsRef::as_ref)
    }

    pub fn insert(&mut self, key: K, value: V) {
        let index = shard_of(&key, SHARDS);
        if let Some(shard) = Arc::make_mut(&mut self.shards).get_mut(index) {
            Arc::make_mut(shard).insert(key, Arc::new(value));
        }
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values()).map(AsRef::as_ref)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    /// Changes the value of `key`, if there is one.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if self.get(key).is_none() {
            return;
        }
        let shard = Arc::make_mut(&mut self.shards).get_mut(shard_of(key, SHARDS));
        if let Some(value) = shard.and_then(|shard| Arc::make_mut(shard).get_mut(key)) {
            change(Arc::make_mut(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut map = SharedMap::default();
        for number in 0..1000 {
            map.insert(number, number);
        }
        let copy = map.clone();
        map.update(&7, |value| *value = 70);
        map.update(&1000, |_| unreachable!("there is no such key"));
        map.insert(1000, 1000);
        assert_eq!((copy.get(&7), copy.get(&1000)), (Some(&7), None));
        assert_eq!((map.get(&7), map.get(&1000)), (Some(&70), Some(&1000)));
        assert_eq!((copy.values().count(), map.values().count()), (1000, 1001));
    }
}

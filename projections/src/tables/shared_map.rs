//! A persistent map, cheap to copy and to change a little: a tree of two levels above small maps. A change copies one small map, and
//! the two arrays above it, if a published copy still uses them. So a change costs nearly the same however many entries there are:
//! a hundred thousand are two dozen for each small map.

use std::hash::Hash;
use std::sync::Arc;

use events::ids::{IdMap, shard_of};

/// The branches of the tree, and the small maps of each branch.
const WIDTH: usize = 64;

type SmallMap<K, V> = Arc<IdMap<K, Arc<V>>>;
type Branch<K, V> = Arc<[Option<SmallMap<K, V>>]>;

pub struct SharedMap<K, V> {
    /// Empty until there is an entry.
    branches: Arc<[Option<Branch<K, V>>]>,
    len: usize,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { branches: Arc::clone(&self.branches), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { branches: Arc::default(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> SharedMap<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        // Many maps are empty, and the key is hashed for its place and again in the small map.
        if self.is_empty() {
            return None;
        }
        let place = place_of(key);
        let branch = self.branches.get(place / WIDTH)?.as_ref()?;
        branch.get(place % WIDTH)?.as_ref()?.get(key).map(AsRef::as_ref)
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The small map for the key, copied if others use it.
    fn small_map(&mut self, key: &K) -> Option<&mut IdMap<K, Arc<V>>> {
        if self.branches.is_empty() {
            self.branches = vacant();
        }
        let place = place_of(key);
        let branch = Arc::make_mut(&mut self.branches).get_mut(place / WIDTH)?.get_or_insert_with(vacant);
        let small = Arc::make_mut(branch).get_mut(place % WIDTH)?.get_or_insert_with(Arc::default);
        Some(Arc::make_mut(small))
    }

    pub fn insert(&mut self, key: K, value: V) {
        if let Some(small) = self.small_map(&key) {
            let before = small.insert(key, Arc::new(value));
            self.len += usize::from(before.is_none());
        }
    }

    pub fn remove(&mut self, key: &K) {
        if self.get(key).is_none() {
            return;
        }
        if let Some(small) = self.small_map(key) {
            small.remove(key);
            self.len -= 1;
        }
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        let branches = self.branches.iter().flatten();
        branches.flat_map(|branch| branch.iter().flatten()).flat_map(|small| small.values()).map(AsRef::as_ref)
    }
}

fn place_of<K: Hash>(key: &K) -> usize {
    shard_of(key, WIDTH * WIDTH)
}

fn vacant<T>() -> Arc<[Option<T>]> {
    (0..WIDTH).map(|_| None).collect()
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    /// Changes the value of `key`, if there is one.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if self.get(key).is_none() {
            return;
        }
        if let Some(value) = self.small_map(key).and_then(|small| small.get_mut(key)) {
            change(Arc::make_mut(value));
        }
    }

    /// Changes the value of `key`, which begins as the default, and forgets it if it is empty then.
    pub fn change(&mut self, key: &K, change: impl FnOnce(&mut V), is_empty: impl FnOnce(&V) -> bool)
    where
        V: Default,
    {
        if self.get(key).is_none() {
            self.insert(key.clone(), V::default());
        }
        self.update(key, change);
        if self.get(key).is_some_and(is_empty) {
            self.remove(key);
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
        map.remove(&8);
        map.remove(&2000);
        assert_eq!((copy.get(&8), map.get(&8), map.values().count()), (Some(&8), None, 1000));
        map.change(&8, |value| *value = 80, |value| *value == 0);
        map.change(&9, |value| *value = 0, |value| *value == 0);
        assert_eq!((map.get(&8), map.get(&9), map.values().count()), (Some(&80), None, 1000));
    }

    #[test]
    fn a_map_is_empty_again_after_its_last_value() {
        let mut map = SharedMap::default();
        assert!(map.is_empty());
        map.insert(1, 1);
        map.insert(1, 2);
        assert!(!map.is_empty());
        map.remove(&1);
        map.remove(&1);
        assert!(map.is_empty());
    }

    #[test]
    fn a_change_copies_no_value_of_another_key() {
        let mut map = SharedMap::default();
        for number in 0..1000 {
            map.insert(number, vec![number]);
        }
        let copy = map.clone();
        map.change(&7, |value| value.push(0), Vec::is_empty);
        let is_shared =
            |key| map.get(&key).zip(copy.get(&key)).is_some_and(|(ours, theirs)| std::ptr::eq(ours, theirs));
        assert!((0..1000).all(|key| is_shared(key) == (key != 7)));
    }
}

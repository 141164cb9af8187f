//! A cache of checks by the SHA-256 of their token, so that the stored secrets are read once for each token. Bounded: when
//! the younger half is full, it replaces the older one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::token::Digest;

/// Tokens in each half.
const HALF_LEN_MAX: usize = 32_768;

/// The result of checking a token's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The generation that the secret matches; `None` if it matches none.
    pub generation: Option<u32>,
    /// The key's newest generation at the time. A secret that matched none may match a later one.
    pub newest: u32,
}

#[derive(Default)]
pub struct VerdictCache {
    halves: RwLock<Halves>,
}

#[derive(Default)]
struct Halves {
    younger: HashMap<Digest, Verdict>,
    older: HashMap<Digest, Verdict>,
}

impl VerdictCache {
    /// The verdict, if it still holds for a key whose newest generation is `newest`.
    pub fn get(&self, digest: &Digest, newest: u32) -> Option<Verdict> {
        let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        let verdict = halves.younger.get(digest).or_else(|| halves.older.get(digest)).copied();
        verdict.filter(|verdict| verdict.generation.is_some() || verdict.newest == newest)
    }

    pub fn put(&self, digest: Digest, verdict: Verdict) {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        if halves.younger.len() >= HALF_LEN_MAX {
            halves.older = std::mem::take(&mut halves.younger);
        }
        halves.younger.insert(digest, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_known_and_a_wrong_one_until_the_key_is_rotated() {
        let cache = VerdictCache::default();
        cache.put([1; 32], Verdict { generation: Some(1), newest: 1 });
        cache.put([2; 32], Verdict { generation: None, newest: 1 });
        assert_eq!(cache.get(&[1; 32], 2).and_then(|verdict| verdict.generation), Some(1));
        assert_eq!(cache.get(&[2; 32], 1).map(|verdict| verdict.generation), Some(None));
        assert_eq!(cache.get(&[2; 32], 2), None);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let cache = VerdictCache::default();
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest
        };
        for number in 0..3 * HALF_LEN_MAX {
            cache.put(digest(number), Verdict { generation: Some(1), newest: 1 });
        }
        assert_eq!(cache.get(&digest(0), 1), None);
        assert!(cache.get(&digest(3 * HALF_LEN_MAX - 1), 1).is_some());
        let halves = cache.halves.read().unwrap();
        assert!(halves.younger.len() + halves.older.len() <= 2 * HALF_LEN_MAX);
    }
}

//! The time of each key's last use, by any authenticated request. It is kept in memory, by this process since its start;
//! requests for models are in the view `inferences` as well. It is bounded: when the younger half is full, it replaces the
//! older one, and keys that were not used meanwhile are forgotten.

use std::mem;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use events::ids::{IdMap, KeyId};
use events::time::{Clock, from_micros};

/// Keys in each half.
const HALF_LEN_MAX: usize = 32_768;

/// The last uses. Cheap to clone; clones share their data.
#[derive(Clone)]
pub struct LastUses {
    clock: Arc<dyn Clock>,
    halves: Arc<RwLock<Halves>>,
}

/// Times in microseconds since 1970, by key.
#[derive(Default)]
struct Halves {
    younger: IdMap<KeyId, AtomicI64>,
    older: IdMap<KeyId, AtomicI64>,
}

impl LastUses {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, halves: Arc::default() }
    }

    /// Records that the key is used now. It costs a look-up, except for a key that was not used for a long time.
    pub fn record(&self, key: KeyId) {
        let now = self.clock.now().timestamp_micros();
        let known = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.younger.get(&key) {
            last.fetch_max(now, Relaxed);
            return;
        }
        drop(known);
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        if halves.younger.len() >= HALF_LEN_MAX {
            halves.older = mem::take(&mut halves.younger);
        }
        halves.younger.entry(key).or_default().fetch_max(now, Relaxed);
    }

    pub fn of(&self, key: KeyId) -> Option<DateTime<Utc>> {
        let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        let last = halves.younger.get(&key).or_else(|| halves.older.get(&key));
        last.map(|micros| from_micros(micros.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use events::time::ManualClock;
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> KeyId {
        KeyId::from(Uuid::from_u128(number))
    }

    #[test]
    fn the_last_use_is_known_and_what_was_long_unused_is_forgotten() {
        let clock = Arc::new(ManualClock::at(from_micros(1_000_000)));
        let uses = LastUses::new(clock.clone());
        assert_eq!(uses.of(key(0)), None);
        uses.record(key(0));
        clock.advance(Duration::from_secs(1));
        uses.record(key(1));
        uses.record(key(0));
        assert_eq!((uses.of(key(0)), uses.of(key(1))), (Some(from_micros(2_000_000)), Some(from_micros(2_000_000))));
        let many = u128::try_from(HALF_LEN_MAX).expect("a number");
        (2..many + 1).for_each(|number| uses.record(key(number)));
        assert_eq!(uses.of(key(1)), Some(from_micros(2_000_000)), "of the older half");
        (many + 1..2 * many + 2).for_each(|number| uses.record(key(number)));
        assert_eq!((uses.of(key(1)), uses.of(key(2 * many))), (None, Some(from_micros(2_000_000))));
        let halves = uses.halves.read().expect("a lock");
        assert!(halves.younger.len() <= HALF_LEN_MAX && halves.older.len() <= HALF_LEN_MAX);
    }
}

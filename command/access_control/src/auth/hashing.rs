//! Slow, salted hashes of secrets: PBKDF2-HMAC-SHA256, as secrets that people choose need them. Of keys, only earlier versions
//! store one, and a shared log has one for nodes of the version before (ADR-0037). Blocking threads compute a few at a time, fewer
//! for one tenant, and callers wait for a bounded time: hashing cannot take the processors from requests that are already
//! authenticated, nor can one tenant's keys keep those of another waiting.

use std::num::NonZeroU32;
use std::time::Duration;

use blocking_work::{KEY_HASHES, Owner, Pool, WorkTurn};
use events::ids::{IdMaker, KeyId};
use events_log::KeySecret;
use ring::pbkdf2;
use tokio::time::Instant;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
const HASH_LEN: usize = 32;
const SALT_LEN: usize = 16;

/// The longest wait for a permit.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A secret could not be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    #[error("no permit to hash a key within {WAIT_MAX:?}")]
    Busy,
    #[error("the hashing was stopped")]
    Stopped,
}

/// Hashes secrets. Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub struct KeyHasher {
    pool: &'static Pool,
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self::new(&KEY_HASHES)
    }
}

/// The right to compute one hash.
pub struct HashingPermit(WorkTurn);

impl KeyHasher {
    /// A hasher that computes in this pool.
    pub fn new(pool: &'static Pool) -> Self {
        Self { pool }
    }

    /// Waits for a permit to hash a secret of a key of this tenant, for ten seconds at most.
    pub async fn permit(&self, owner: Owner) -> Result<HashingPermit, HashingError> {
        let turn = self.pool.turn_until(owner, Instant::now() + WAIT_MAX).await;
        turn.map(HashingPermit).map_err(|_| HashingError::Busy)
    }

    /// The salted hash of a new secret of a key of this tenant, as nodes of the version before expect it.
    pub async fn hash(
        &self,
        owner: Owner,
        key_id: KeyId,
        generation: u32,
        secret: &str,
        ids: &IdMaker,
    ) -> Result<KeySecret, HashingError> {
        let permit = self.permit(owner).await?;
        let (salt, secret) = (ids.bytes::<SALT_LEN>(), secret.to_owned());
        let hash = permit.run(move || derive_hash(&salt, &secret)).await?;
        Ok(KeySecret { key_id, generation, salt: salt.to_vec(), hash: hash.to_vec(), mac: None })
    }
}

impl HashingPermit {
    /// The generation of the stored secret that equals `secret`, if any.
    pub async fn matching(self, secret: &str, stored: Vec<KeySecret>) -> Result<Option<u32>, HashingError> {
        let secret = secret.to_owned();
        self.run(move || {
            stored.into_iter().find(|stored| matches_hash(&secret, stored)).map(|stored| stored.generation)
        })
        .await
    }

    async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashingError> {
        // The work has the turn: a caller that gives up does not make room for another hash while its own runs.
        self.0.start(work).await.map_err(|_| HashingError::Stopped)
    }
}

fn derive_hash(salt: &[u8], secret: &str) -> [u8; HASH_LEN] {
    let mut hash = [0; HASH_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, secret.as_bytes(), &mut hash);
    hash
}

/// Compares in constant time.
fn matches_hash(secret: &str, stored: &KeySecret) -> bool {
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &stored.salt, secret.as_bytes(), &stored.hash).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::{SystemRandom, TenantId};
    use events::time::SystemClock;

    use super::*;

    /// A hasher of two hashes at a time, one for each owner.
    fn hasher() -> KeyHasher {
        KeyHasher::new(Box::leak(Box::new(Pool::new("test", 2).with_owners(1))))
    }

    fn tenant(number: u8) -> Owner {
        Some(format!("ten_{number:032x}").parse::<TenantId>().unwrap())
    }

    #[tokio::test]
    async fn a_secret_is_found_among_the_stored_ones_and_no_other_is() {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let (hasher, id) = (KeyHasher::default(), ids.make());
        let stored = vec![
            hasher.hash(None, id, 1, "first", &ids).await.unwrap(),
            hasher.hash(None, id, 2, "second", &ids).await.unwrap(),
        ];
        assert_ne!(stored[0].salt, stored[1].salt);
        for (secret, generation) in [("first", Some(1)), ("second", Some(2)), ("third", None)] {
            let permit = hasher.permit(None).await.unwrap();
            assert_eq!(permit.matching(secret, stored.clone()).await, Ok(generation), "{secret}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_a_permit_in_time_ends_as_busy() {
        let (hasher, [one, two, three]) = (hasher(), [1, 2, 3].map(tenant));
        let _of_one = hasher.permit(one).await.unwrap();
        assert_eq!(hasher.permit(one).await.map(|_| ()), Err(HashingError::Busy), "its own turns are taken");
        let _of_two = hasher.permit(two).await.expect("a tenant's turn beside another's");
        assert_eq!(hasher.permit(three).await.map(|_| ()), Err(HashingError::Busy), "all turns are taken");
    }
}

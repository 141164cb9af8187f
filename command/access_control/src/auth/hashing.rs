//! Slow, salted hashes of key secrets: PBKDF2-HMAC-SHA256. Blocking threads compute at most two at a time and callers wait
//! for a bounded time, so that hashing cannot take the processors from requests that are already authenticated.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use events::ids::{IdMaker, KeyId};
use events_log::KeySecret;
use ring::pbkdf2;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
const HASH_LEN: usize = 32;
const SALT_LEN: usize = 16;

/// Hashes that are computed at the same time.
const HASHES_MAX: usize = 2;
/// The longest wait for a permit.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A secret could not be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    #[error("no permit to hash a key within {WAIT_MAX:?}")]
    Busy,
    #[error("the hashing was stopped")]
    Stopped,
}

/// Hashes secrets. Cheap to clone; clones share the bound.
#[derive(Clone)]
pub struct KeyHasher {
    permits: Arc<Semaphore>,
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(HASHES_MAX)) }
    }
}

/// The right to compute one hash.
pub struct HashingPermit(#[expect(dead_code, reason = "only held")] OwnedSemaphorePermit);

impl KeyHasher {
    /// Waits for a permit, for two seconds at most.
    pub async fn permit(&self) -> Result<HashingPermit, HashingError> {
        let permit = timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned()).await;
        permit.map_err(|_| HashingError::Busy)?.map(HashingPermit).map_err(|_| HashingError::Stopped)
    }

    /// The salted hash to store for a new secret.
    pub async fn hash(
        &self,
        key_id: KeyId,
        generation: u32,
        secret: &str,
        ids: &IdMaker,
    ) -> Result<KeySecret, HashingError> {
        let permit = self.permit().await?;
        let (salt, secret) = (ids.bytes::<SALT_LEN>(), secret.to_owned());
        let hash = permit.run(move || derive_hash(&salt, &secret)).await?;
        Ok(KeySecret { key_id, generation, salt: salt.to_vec(), hash: hash.to_vec() })
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
        // The task holds the permit: a caller that gives up does not make room for another hash while its own runs.
        let work = spawn_blocking(move || {
            let result = work();
            drop(self);
            result
        });
        work.await.map_err(|_| HashingError::Stopped)
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
    use events::ids::SystemRandom;
    use events::time::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_secret_is_found_among_the_stored_ones_and_no_other_is() {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let (hasher, id) = (KeyHasher::default(), ids.make());
        let stored =
            vec![hasher.hash(id, 1, "first", &ids).await.unwrap(), hasher.hash(id, 2, "second", &ids).await.unwrap()];
        assert_ne!(stored[0].salt, stored[1].salt);
        for (secret, generation) in [("first", Some(1)), ("second", Some(2)), ("third", None)] {
            let permit = hasher.permit().await.unwrap();
            assert_eq!(permit.matching(secret, stored.clone()).await, Ok(generation), "{secret}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_a_permit_in_time_ends_as_busy() {
        let hasher = KeyHasher::default();
        let _turns = [hasher.permit().await.unwrap(), hasher.permit().await.unwrap()];
        assert_eq!(hasher.permit().await.map(|_| ()), Err(HashingError::Busy));
    }
}

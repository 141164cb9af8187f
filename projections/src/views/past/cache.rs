//! The earlier views that are there, and the positions that wait for theirs.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::time::Clock;
use events_log::concurrency::{QUERY_MAX, Requester};
use tokio::sync::watch;

use super::PastViews;
use super::failures::Failures;
use super::holders::holder_of;
use super::kept_files::{KeptFile, KeptFiles};
use super::queue::{BuildOutcome, Queue};
use crate::views::past_error::PastError;

pub struct PastViewsCache {
    contents: Mutex<Contents>,
    /// Notified when a position is queued.
    queued: Condvar,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Contents {
    kept: KeptFiles<Arc<PastViews>>,
    queue: Queue,
    failures: Failures,
    /// True once nothing is built any more.
    is_closed: bool,
}

impl PastViewsCache {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { contents: Mutex::default(), queued: Condvar::new(), clock }
    }

    /// The position to build next, which is being built until [`Self::put`]. Waits for one, at most for so long.
    pub fn next(&self, wait: Duration) -> Option<u64> {
        let is_empty = |contents: &mut Contents| contents.queue.is_empty();
        let waited = self.queued.wait_timeout_while(self.lock(), wait, is_empty);
        let (mut contents, _) = waited.unwrap_or_else(PoisonError::into_inner);
        contents.queue.next(self.clock.monotonic())
    }

    /// Keeps what was built, and tells whoever waits for it.
    pub fn put(&self, built: Result<Arc<PastViews>, PastError>) {
        let bytes = built.as_ref().map_or(0, |views| views.bytes());
        let mut contents = self.lock();
        let Some(queued) = contents.queue.end() else { return };
        let position = queued.position;
        let pushed_out = match &built {
            Ok(views) => {
                contents.kept.add(KeptFile { position, holder: queued.holder, bytes, views: Arc::clone(views) })
            }
            Err(error) => {
                contents.failures.add(position, error, self.clock.monotonic());
                Vec::new()
            }
        };
        drop(contents);
        // Files are deleted without the lock.
        drop(pushed_out);
        queued.outcome.send_replace(Some(built));
    }

    /// Drops files that nobody reads until so many bytes are free; none, and false, if they all have fewer.
    pub fn drop_to_free(&self, bytes: u64) -> bool {
        let is_in_use = |views: &Arc<PastViews>| Arc::strong_count(views) > 1;
        let dropped = self.lock().kept.take_to_free(bytes, is_in_use);
        !dropped.is_empty()
    }

    /// Tells everybody who waits that nothing is built any more.
    pub fn close(&self) {
        let mut contents = self.lock();
        contents.is_closed = true;
        contents.queue.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Access to the views as of earlier positions. Cheap to clone.
#[derive(Clone)]
pub struct PastViewsHandle {
    cache: Arc<PastViewsCache>,
}

/// The views as of a position, or what becomes of them.
enum BuiltOrQueued {
    Built(Arc<PastViews>),
    Queued(watch::Receiver<BuildOutcome>),
}

impl PastViewsHandle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { cache: Arc::new(PastViewsCache::new(clock)) }
    }

    pub(super) fn cache(&self) -> Arc<PastViewsCache> {
        Arc::clone(&self.cache)
    }

    /// The views as of a position that the log has, as soon as they are built. Waits for at most [`QUERY_MAX`]; the building goes
    /// on after that.
    pub async fn at(&self, position: u64, requester: Requester) -> Result<Arc<PastViews>, PastError> {
        let mut outcome = match self.find(position, requester)? {
            BuiltOrQueued::Built(views) => return Ok(views),
            BuiltOrQueued::Queued(outcome) => outcome,
        };
        let waited = tokio::time::timeout(QUERY_MAX, outcome.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(PastError::Stopping)),
            Ok(Err(_)) => Err(PastError::Stopping),
            Err(_) => Err(PastError::Building { position }),
        }
    }

    fn find(&self, position: u64, requester: Requester) -> Result<BuiltOrQueued, PastError> {
        let (holder, now) = (holder_of(requester), self.cache.clock.monotonic());
        let mut contents = self.cache.lock();
        if let Some(views) = contents.kept.find(position, holder) {
            return Ok(BuiltOrQueued::Built(Arc::clone(views)));
        }
        if contents.is_closed {
            return Err(PastError::Stopping);
        }
        if let Some(error) = contents.failures.find(position, now) {
            return Err(error);
        }
        let outcome = contents.queue.ask(position, holder, now).ok_or(PastError::Busy)?;
        drop(contents);
        self.cache.queued.notify_one();
        Ok(BuiltOrQueued::Queued(outcome))
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{KeyId, TenantId};
    use events::time::{ManualClock, from_micros};
    use uuid::Uuid;

    use super::*;

    /// A handle whose thread builds nothing.
    fn unserved() -> PastViewsHandle {
        PastViewsHandle::new(Arc::new(ManualClock::at(from_micros(0))))
    }

    /// The positions that would be built by now.
    fn queued(past: &PastViewsHandle) -> Vec<u64> {
        std::iter::from_fn(|| past.cache.next(Duration::ZERO)).collect()
    }

    fn key_of(tenant: u128, key: u128) -> Requester {
        let (key, tenant) = (KeyId::from(Uuid::from_u128(key)), TenantId::from(Uuid::from_u128(tenant)));
        Requester::TenantKey { key, tenant }
    }

    async fn ask(past: &PastViewsHandle, position: u64, requester: Requester) -> Option<PastError> {
        past.at(position, requester).await.err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_until_its_deadline_and_finds_its_place_in_the_queue_again() {
        let past = unserved();
        for _ in 0..2 {
            let began = tokio::time::Instant::now();
            let answer = ask(&past, 7, Requester::Operator).await;
            assert_eq!((answer, began.elapsed()), (Some(PastError::Building { position: 7 }), QUERY_MAX));
        }
        assert_eq!(queued(&past), [7], "it is queued once");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_fills_the_queue_alone_and_tenants_do_not_together() {
        let past = unserved();
        let is_busy = async |position, requester| ask(&past, position, requester).await == Some(PastError::Busy);
        for (position, key) in [(1, key_of(1, 1)), (2, key_of(1, 2))] {
            assert!(!is_busy(position, key).await);
        }
        assert!(is_busy(3, key_of(1, 3)).await, "a third one of its tenant");
        assert!(!is_busy(1, key_of(1, 3)).await, "one that is there");
        for (position, tenant) in [(3, 2), (4, 3), (5, 4), (6, 5)] {
            assert!(!is_busy(position, key_of(tenant, 1)).await, "{position}");
        }
        assert!(!is_busy(7, key_of(6, 1)).await, "one has two");
        assert!(is_busy(8, key_of(7, 1)).await, "tenants have six");
        for position in [8, 9] {
            assert!(!is_busy(position, Requester::Operator).await, "{position}");
        }
        assert!(is_busy(10, Requester::Operator).await, "there are eight");
    }

    /// The outcome of a query of position 7 that waits while the build fails.
    async fn told_of(past: &PastViewsHandle, error: &PastError) -> Option<PastError> {
        let (told, ()) = tokio::join!(ask(past, 7, Requester::Operator), async {
            assert_eq!(past.cache.next(Duration::ZERO), Some(7));
            past.cache.put(Err(error.clone()));
        });
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_may_pass_is_told_to_whoever_waits_and_the_next_one_asks_for_it_anew() {
        let past = unserved();
        let away = PastError::Unavailable { position: 7, reason: "away".into() };
        for _ in 0..2 {
            assert_eq!(told_of(&past, &away).await, Some(away.clone()));
        }
        assert!(matches!(ask(&past, 7, Requester::Operator).await, Some(PastError::Building { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_stays_is_told_to_the_next_one_at_once() {
        let past = unserved();
        let failed = PastError::Failed { position: 7, reason: "no".into() };
        assert_eq!(told_of(&past, &failed).await, Some(failed.clone()));
        let began = tokio::time::Instant::now();
        assert_eq!(ask(&past, 7, key_of(1, 1)).await, Some(failed));
        assert_eq!((began.elapsed(), queued(&past)), (Duration::ZERO, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_is_told_when_the_thread_ends_or_has_ended() {
        let past = unserved();
        let (told, ()) = tokio::join!(ask(&past, 7, Requester::Operator), async { past.cache.close() });
        assert_eq!(told, Some(PastError::Stopping));
        assert_eq!(ask(&past, 8, Requester::Operator).await, Some(PastError::Stopping));
    }
}

//! The earlier views that are there, and the positions that wait for theirs.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::concurrency::{QUERY_MAX, Requester};
use tokio::sync::watch;

use super::PastViews;
use crate::views::past_error::PastError;

/// Files that are kept at most.
const FILES_MAX: usize = 4;
/// Bytes of all of them together, of which one file alone may have more.
const BYTES_MAX: u64 = 4 << 30;
/// Positions that wait for their turn, or are being built.
pub const QUEUE_MAX: usize = 8;
/// Of them, those that tenants ask for.
const OF_TENANTS_MAX: usize = 6;
/// Of them, those that one tenant asks for, or the operator, or a key that reaches the whole platform.
const OF_ONE_MAX: usize = 2;

type Outcome = Option<Result<Arc<PastViews>, PastError>>;

#[derive(Default)]
pub struct Shelf(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    /// The least recently used one first.
    built: Vec<Arc<PastViews>>,
    /// The first is being built.
    queue: VecDeque<Queued>,
}

struct Queued {
    position: u64,
    requester: Requester,
    outcome: watch::Sender<Outcome>,
}

impl Shelf {
    /// Keeps what was built, and tells whoever waits for it.
    pub fn put(&self, position: u64, built: Result<Arc<PastViews>, PastError>) {
        let mut contents = self.lock();
        let queued = contents.queue.iter().position(|queued| queued.position == position);
        let queued = queued.and_then(|index| contents.queue.remove(index));
        let mut dropped = Vec::new();
        if let Ok(views) = &built {
            contents.built.push(Arc::clone(views));
            dropped = beyond_the_bounds(&mut contents.built);
        }
        drop(contents);
        // Files are deleted without the lock.
        drop(dropped);
        if let Some(queued) = queued {
            queued.outcome.send_replace(Some(built));
        }
    }

    /// Drops one; false if there is none. A query that still reads it keeps its file until it ends.
    pub fn drop_least_recently_used(&self) -> bool {
        let mut contents = self.lock();
        let dropped = if contents.built.is_empty() { None } else { Some(contents.built.remove(0)) };
        drop(contents);
        dropped.is_some()
    }

    /// Tells everybody who waits that nothing is built any more.
    pub fn close(&self) {
        self.lock().queue.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out the least recently used ones, of which there are too many or which are too large together with the others.
fn beyond_the_bounds(built: &mut Vec<Arc<PastViews>>) -> Vec<Arc<PastViews>> {
    let bytes = |built: &[Arc<PastViews>]| built.iter().fold(0, |sum: u64, views| sum.saturating_add(views.bytes()));
    let mut beyond = Vec::new();
    while built.len() > FILES_MAX || (built.len() > 1 && bytes(built) > BYTES_MAX) {
        beyond.push(built.remove(0));
    }
    beyond
}

/// Access to the views as of earlier positions. Cheap to clone.
#[derive(Clone)]
pub struct PastViewsHandle {
    shelf: Arc<Shelf>,
    /// What the thread builds, in this order.
    positions: SyncSender<u64>,
}

/// The views as of a position, or what becomes of them.
enum BuiltOrQueued {
    Built(Arc<PastViews>),
    Queued(watch::Receiver<Outcome>),
}

impl PastViewsHandle {
    pub(super) fn new(positions: SyncSender<u64>) -> Self {
        Self { shelf: Arc::default(), positions }
    }

    pub(super) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
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
        let mut contents = self.shelf.lock();
        if let Some(index) = contents.built.iter().position(|views| views.position() == position) {
            let views = contents.built.remove(index);
            contents.built.push(Arc::clone(&views));
            return Ok(BuiltOrQueued::Built(views));
        }
        if let Some(queued) = contents.queue.iter().find(|queued| queued.position == position) {
            return Ok(BuiltOrQueued::Queued(queued.outcome.subscribe()));
        }
        if !has_room(&contents.queue, requester) {
            return Err(PastError::Busy);
        }
        // Both under one lock, so that what is queued waits for nothing but its turn.
        self.positions.try_send(position).map_err(|_| PastError::Stopping)?;
        let (sender, outcome) = watch::channel(None);
        contents.queue.push_back(Queued { position, requester, outcome: sender });
        Ok(BuiltOrQueued::Queued(outcome))
    }
}

/// Whether the requester may have one more position in the queue.
fn has_room(queue: &VecDeque<Queued>, requester: Requester) -> bool {
    let count = |counts: &dyn Fn(Requester) -> bool| queue.iter().filter(|queued| counts(queued.requester)).count();
    let is_of_tenant = |one: Requester| matches!(one, Requester::TenantKey { .. });
    queue.len() < QUEUE_MAX
        && count(&|other| is_one(other, requester)) < OF_ONE_MAX
        && (!is_of_tenant(requester) || count(&is_of_tenant) < OF_TENANTS_MAX)
}

/// Whether two requesters share what one may have in the queue.
fn is_one(one: Requester, other: Requester) -> bool {
    match (one, other) {
        (Requester::TenantKey { tenant, .. }, Requester::TenantKey { tenant: other, .. }) => tenant == other,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use events::ids::{KeyId, TenantId};
    use uuid::Uuid;

    use super::*;

    /// A handle whose thread builds nothing, and what it would build.
    fn unserved() -> (PastViewsHandle, Receiver<u64>) {
        let (positions, queue) = mpsc::sync_channel(QUEUE_MAX);
        (PastViewsHandle::new(positions), queue)
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
        let (past, queue) = unserved();
        for _ in 0..2 {
            let began = tokio::time::Instant::now();
            let answer = ask(&past, 7, Requester::Operator).await;
            assert_eq!((answer, began.elapsed()), (Some(PastError::Building { position: 7 }), QUERY_MAX));
        }
        assert_eq!(queue.try_iter().collect::<Vec<_>>(), [7], "it is queued once");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_fills_the_queue_alone_and_tenants_do_not_together() {
        let (past, _queue) = unserved();
        let is_busy = async |position, requester| ask(&past, position, requester).await == Some(PastError::Busy);
        for (position, key) in [(1, key_of(1, 1)), (2, key_of(1, 2))] {
            assert!(!is_busy(position, key).await);
        }
        assert!(is_busy(3, key_of(1, 3)).await, "a third one of its tenant");
        assert!(!is_busy(1, key_of(1, 3)).await, "one that is there");
        for (position, tenant) in [(3, 2), (4, 2), (5, 3), (6, 3)] {
            assert!(!is_busy(position, key_of(tenant, 1)).await, "{position}");
        }
        assert!(is_busy(7, key_of(4, 1)).await, "tenants have six");
        for position in [7, 8] {
            assert!(!is_busy(position, Requester::Operator).await, "{position}");
        }
        assert!(is_busy(9, Requester::PlatformKey(KeyId::from(Uuid::from_u128(9)))).await, "there are eight");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_whoever_waits_and_the_next_one_asks_for_it_anew() {
        let (past, queue) = unserved();
        let failed = PastError::Failed { position: 7, reason: "no".into() };
        let shelf = past.shelf();
        let (told, ()) = tokio::join!(ask(&past, 7, Requester::Operator), async {
            assert_eq!(queue.try_recv(), Ok(7));
            shelf.put(7, Err(failed.clone()));
        });
        assert_eq!(told, Some(failed));
        assert!(matches!(ask(&past, 7, Requester::Operator).await, Some(PastError::Building { .. })));
        assert_eq!(queue.try_recv(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_is_told_when_the_thread_ends_or_has_ended() {
        let (past, queue) = unserved();
        let shelf = past.shelf();
        let (told, ()) = tokio::join!(ask(&past, 7, Requester::Operator), async { shelf.close() });
        assert_eq!(told, Some(PastError::Stopping));
        drop(queue);
        assert_eq!(ask(&past, 8, Requester::Operator).await, Some(PastError::Stopping));
    }
}

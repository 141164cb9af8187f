//! Work that blocks a thread, in named pools. A pool has a bound, and most pools have a second one for each owner: however much work
//! one owner brings, another waits behind a bounded part of it. Pools share no thread, so work of one kind never waits for another.
//!
//! The pools and their bounds are the table in [`pools`]. No other code gives work to a runtime's threads for blocking work.
//!
//! A turn ends with the work and not with whoever waits for it: a caller that leaves makes no room for more of what still runs.

mod owner_semaphores;
mod pools;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use events::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

pub use owner_semaphores::OwnerSemaphores;
pub use pools::{
    BODIES, CONFIGURATION, ESTIMATES, FOLDERS, FOLLOWING, KEY_HASHES, KEY_SECRETS, LATE_NAMES, NAMES, OPENING, OUTLETS,
    PLATFORM_NAMES, POOLS, PROCESS, READS, SEALING, STARTING, TABLES, TOKENS, WITNESS, look_ups_max, threads_max,
};

/// The owner of work: a tenant, or `None` for the gateway itself, the operator and all keys that belong to no tenant.
pub type Owner = Option<TenantId>;

/// The bound that kept work waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOf {
    Owner,
    Pool,
}

/// Why work has no result.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error("its turn did not come in time")]
    Busy(BoundOf),
    /// The work has panicked, or the process is ending.
    #[error(transparent)]
    Lost(#[from] JoinError),
}

/// A pool: so much work of one kind runs at a time.
pub struct Pool {
    pub name: &'static str,
    turns_max: usize,
    permits: Arc<Semaphore>,
    /// `None` if all of its work is of one owner.
    owners: Option<OwnerSemaphores>,
    waiting: AtomicUsize,
    late: AtomicU64,
}

/// The right to do one piece of work, here or on a thread of its own.
pub struct WorkTurn {
    _own: Option<OwnedSemaphorePermit>,
    /// `None` for work that waited for no turn and found all of them taken.
    _shared: Option<OwnedSemaphorePermit>,
}

/// Work that waits for its turn, which counts until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Pool {
    /// A pool for work of one owner.
    pub fn new(name: &'static str, turns_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(turns_max));
        Self { name, turns_max, permits, owners: None, waiting: AtomicUsize::new(0), late: AtomicU64::new(0) }
    }

    /// The pool with at most so many turns at a time for each owner.
    pub fn with_owners(self, of_each: usize) -> Self {
        Self { owners: Some(OwnerSemaphores::new(of_each)), ..self }
    }

    /// Waits for a turn.
    pub async fn turn(&self, owner: Owner) -> WorkTurn {
        let _waiting = Waiting::counted_by(&self.waiting);
        let own = self.own_permit(owner).await;
        WorkTurn { _own: own, _shared: self.shared_permit().await }
    }

    /// Waits for a turn.
    ///
    /// Errors: it did not come before `until`.
    pub async fn turn_until(&self, owner: Owner, until: Instant) -> Result<WorkTurn, BoundOf> {
        let _waiting = Waiting::counted_by(&self.waiting);
        let turn = self.turn_before(owner, until).await;
        if turn.is_err() {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        turn
    }

    /// A turn, if nothing has to wait for it.
    pub fn try_turn(&self, owner: Owner) -> Option<WorkTurn> {
        let own = match &self.owners {
            Some(owners) => Some(owners.of(owner).try_acquire_owned().ok()?),
            None => None,
        };
        Some(WorkTurn { _own: own, _shared: Some(Arc::clone(&self.permits).try_acquire_owned().ok()?) })
    }

    /// Does the work when its turn has come. Once begun, it goes on if nobody waits for it any more.
    ///
    /// Errors: it has panicked, or the process is ending.
    pub async fn run<T: Send + 'static>(
        &self,
        owner: Owner,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.turn(owner).await.start(work).await
    }

    /// Does the work, whose turn must come before `until`. Once begun, it goes on if nobody waits for it any more.
    pub async fn run_until<T: Send + 'static>(
        &self,
        owner: Owner,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let turn = self.turn_until(owner, until).await.map_err(NotDone::Busy)?;
        Ok(turn.start(work).await?)
    }

    /// Starts work that waits for no turn, because whoever starts it has one piece of it at a time.
    pub fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        WorkTurn { _own: None, _shared: Arc::clone(&self.permits).try_acquire_owned().ok() }.start(work)
    }

    /// Waits for an answer of work that answers many callers.
    ///
    /// `None`: it did not come before `until`.
    pub async fn answer_until<T>(&self, until: Instant, answer: impl Future<Output = T>) -> Option<T> {
        let _waiting = Waiting::counted_by(&self.waiting);
        let answer = timeout_at(until, answer).await.ok();
        if answer.is_none() {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn turn_before(&self, owner: Owner, until: Instant) -> Result<WorkTurn, BoundOf> {
        let own = timeout_at(until, self.own_permit(owner)).await.map_err(|_| BoundOf::Owner)?;
        let shared = timeout_at(until, self.shared_permit()).await.map_err(|_| BoundOf::Pool)?;
        Ok(WorkTurn { _own: own, _shared: shared })
    }

    /// Waits for a permit of the owner, before the shared one: so an owner waits there with no more work than it may have at a time.
    async fn own_permit(&self, owner: Owner) -> Option<OwnedSemaphorePermit> {
        // No semaphore is ever closed.
        self.owners.as_ref()?.of(owner).acquire_owned().await.ok()
    }

    async fn shared_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// How much of its work may run at a time.
    pub const fn turns_max(&self) -> usize {
        self.turns_max
    }

    /// How much of its work runs now.
    pub fn running(&self) -> usize {
        self.turns_max.saturating_sub(self.permits.available_permits())
    }

    /// How much waits now: work for its turn, and callers for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How much has waited too long.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

impl WorkTurn {
    /// Starts the work, which has this turn until it ends.
    pub fn start<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        spawn_blocking(move || {
            let _turn = self;
            work()
        })
    }
}

impl<'a> Waiting<'a> {
    fn counted_by(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> Owner {
        Some(TenantId::from(Uuid::from_u128(number)))
    }

    /// A pool for a test, which is never dropped.
    fn pool(turns_max: usize, of_each: usize) -> &'static Pool {
        Box::leak(Box::new(Pool::new("test", turns_max).with_owners(of_each)))
    }

    #[tokio::test]
    async fn an_owner_has_its_share_of_the_turns_however_much_it_brings() {
        let pool = pool(2, 1);
        // All work of the first tenant is there before the other's, and none of it ends.
        let (mut running, mut ends) = (JoinSet::new(), Vec::new());
        for _ in 0..20 {
            let (end, ends_when) = mpsc::channel::<()>();
            running.spawn(pool.run(tenant(1), move || ends_when.recv().is_ok()));
            ends.push(end);
        }
        tokio::task::yield_now().await;
        assert_eq!((pool.running(), pool.waiting()), (1, 19));
        assert!(pool.run(tenant(2), || ()).await.is_ok());
        drop(ends);
        assert_eq!(running.join_all().await.into_iter().filter(|ended| matches!(ended, Ok(false))).count(), 20);
    }

    #[test]
    fn an_owner_is_remembered_while_it_has_or_awaits_something() {
        let owners = OwnerSemaphores::new(1);
        let permit = owners.of(tenant(0)).try_acquire_owned();
        assert!(permit.is_ok());
        assert!((1..1_000).all(|number| owners.of(tenant(number)).try_acquire_owned().is_ok()));
        assert!(owners.of(tenant(0)).try_acquire_owned().is_err(), "it still has what it took");
        assert!(owners.semaphores.lock().is_ok_and(|semaphores| semaphores.len() < 10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_that_kept_work_waiting_is_named_and_counted() {
        let pool = pool(2, 1);
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = pool.turn(tenant(1)).await;
        assert_eq!(pool.turn_until(tenant(1), soon()).await.err(), Some(BoundOf::Owner));
        let second = pool.turn(tenant(2)).await;
        assert_eq!(pool.turn_until(tenant(3), soon()).await.err(), Some(BoundOf::Pool));
        assert!(pool.try_turn(None).is_none());
        assert_eq!((pool.running(), pool.waiting(), pool.late()), (2, 0, 2));
        drop((first, second));
        assert!(pool.try_turn(None).is_some());
    }

    #[tokio::test]
    async fn a_turn_ends_with_the_work_and_not_with_who_waits_for_it() {
        let pool = pool(1, 1);
        let ((end, ends), (done, is_done)) = (mpsc::channel::<()>(), mpsc::channel());
        let work = pool.run(None, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send(pool.running())
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop(end);
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(1));
        assert!(pool.run(None, || panic!("meant")).await.map(|(): ()| ()).is_err());
        assert!(pool.run(None, || ()).await.is_ok(), "a panic ends its turn, too");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_in_time_is_counted() {
        let pool = pool(1, 1);
        let soon = || Instant::now() + Duration::from_secs(1);
        assert_eq!(pool.answer_until(soon(), async { pool.waiting() }).await, Some(1));
        assert_eq!(pool.answer_until(soon(), std::future::pending::<()>()).await, None);
        assert_eq!((pool.waiting(), pool.late()), (0, 1));
    }

    #[tokio::test]
    async fn work_that_waits_for_no_turn_counts_as_running_and_begins_though_all_turns_are_taken() {
        let pool = pool(1, 1);
        assert_eq!(pool.start(move || pool.running()).await.ok(), Some(1));
        let _turn = pool.turn(None).await;
        assert_eq!(pool.start(|| 7).await.ok(), Some(7));
    }

    #[test]
    fn an_owner_that_takes_all_turns_it_gets_leaves_one_to_another() {
        let pool = pool(3, 2);
        let first: Vec<WorkTurn> = std::iter::from_fn(|| pool.try_turn(tenant(1))).take(3).collect();
        assert_eq!(first.len(), 2);
        assert!(pool.try_turn(tenant(2)).is_some());
    }

    #[test]
    fn slow_hashes_take_half_of_the_cores_at_most() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turns_max = KEY_HASHES.turns_max;
        assert!(turns_max == 1 || turns_max * 2 <= cores, "{turns_max} of {cores}");
    }

    #[test]
    fn every_pool_is_listed_once_under_its_own_name() {
        let names: std::collections::HashSet<&str> = POOLS.iter().map(|pool| pool.name).collect();
        assert_eq!(names.len(), POOLS.len());
        assert!(threads_max() >= POOLS.len());
    }
}

//! Work on large bodies of requests and answers, on threads of their own, because the other requests of the connection
//! thread would wait. One body for each core at a time, and of one tenant at most half of them, rounded up: however much
//! one tenant sends, another waits behind at most that many of its bodies, not behind all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::body::memory::{BodyPermit, BoundOf};

/// Work on this many bytes takes at most a few milliseconds, whatever they contain: 28 ns for each byte of a body that is
/// all escapes.
const SMALL_BYTES_MAX: usize = 128 * 1024;
/// The longest wait for a turn. Reading all bodies that fit into the default memory takes one core about 5 s.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why the work on a large body has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeBodyError {
    /// Its turn did not come in time: that of its tenant, or that of all.
    Busy(BoundOf),
    /// The work has panicked, or the process is ending.
    Lost,
}

impl LargeBodyError {
    /// The refusal of the request; `charge` says what that means for the bill.
    pub fn refusal(self, charge: &str) -> Refusal {
        match self {
            Self::Busy(bound) => {
                let whose = bound.of_whom();
                let message = format!("too many large bodies{whose} wait for their turn, and {charge}: try again");
                Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).try_again()
            }
            Self::Lost => {
                let message = format!("the gateway failed to process a large body, and {charge}: try again");
                Refusal::new(ErrorCode::Internal, message)
            }
        }
    }
}

/// Works on large bodies, a bounded number at a time.
pub struct LargeBodies {
    turns: Arc<Semaphore>,
    turns_of_a_tenant: usize,
    /// The turns of tenants that have or await one; `None` are the operator and all keys that belong to no tenant.
    tenants: Mutex<HashMap<Option<TenantId>, Weak<Semaphore>>>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, usize::from))
    }
}

impl LargeBodies {
    pub(super) fn new(bodies_max: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(bodies_max)),
            turns_of_a_tenant: bodies_max.div_ceil(2),
            tenants: Mutex::default(),
        }
    }

    /// True if a connection thread should not work on a body of this size.
    pub const fn is_large(bytes: usize) -> bool {
        bytes > SMALL_BYTES_MAX
    }

    /// Runs the work on a large body. Even if the caller stops waiting, the body's memory counts as held until the work is
    /// done. Boxed, so that requests with small bodies have no room for it.
    pub fn run<T: Send + 'static>(
        &self,
        memory: &Arc<BodyPermit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LargeBodyError>> {
        let (tenant, memory) = (memory.tenant(), Arc::clone(memory));
        self.run_until(Instant::now() + WAIT_MAX, tenant, move || {
            let _held = memory;
            work()
        })
    }

    /// Does the same as [`Self::run`], for a tenant, whose turn must come before `until`. The work itself holds what is
    /// to count as held until it is done.
    pub fn run_until<T: Send + 'static>(
        &self,
        until: Instant,
        tenant: Option<TenantId>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LargeBodyError>> {
        let (turns_of_tenant, turns) = (self.turns_of(tenant), Arc::clone(&self.turns));
        Box::pin(async move {
            // In this order, so that a tenant waits for the shared turns with no more bodies than it may have there.
            let bound = tenant.map_or(BoundOf::Process, |_| BoundOf::Tenant);
            let own = acquire(turns_of_tenant, until).await.ok_or(LargeBodyError::Busy(bound))?;
            let shared = acquire(turns, until).await.ok_or(LargeBodyError::Busy(BoundOf::Process))?;
            let working = spawn_blocking(move || {
                let _held = (own, shared);
                work()
            });
            working.await.map_err(|_| LargeBodyError::Lost)
        })
    }

    fn turns_of(&self, tenant: Option<TenantId>) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return turns;
        }
        // Those that nobody has or awaits any more.
        tenants.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.turns_of_a_tenant));
        tenants.insert(tenant, Arc::downgrade(&turns));
        turns
    }
}

async fn acquire(turns: Arc<Semaphore>, until: Instant) -> Option<OwnedSemaphorePermit> {
    timeout_at(until, turns.acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;
    use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner};

    fn permit_of(tenant: Option<TenantId>) -> Arc<BodyPermit> {
        let memory = BodyMemory::new(BodyBounds::of_administration());
        Arc::new(memory.permit(BodyOwner::of(tenant, None)))
    }

    fn permit() -> Arc<BodyPermit> {
        permit_of(None)
    }

    /// Holds: http.large-bodies
    #[tokio::test]
    async fn other_tasks_of_the_thread_have_their_turn_meanwhile() {
        let (begin, begins) = mpsc::channel();
        // Ends only when another task of this thread has had its turn.
        let work = LargeBodies::default().run(&permit(), move || begins.recv_timeout(Duration::from_secs(10)).is_ok());
        let other = async move {
            let _ = begin.send(());
        };
        let (has_begun, ()) = tokio::join!(work, other);
        assert_eq!(has_begun.ok(), Some(true));
    }

    #[tokio::test]
    async fn memory_and_turn_are_held_until_the_work_is_done_whether_or_not_somebody_waits() {
        let permit = permit();
        let ((end, ends), (done, is_done)) = (mpsc::channel::<()>(), mpsc::channel());
        let weak = Arc::downgrade(&permit);
        let bodies = LargeBodies::new(1);
        let turns = Arc::clone(&bodies.turns);
        let work = bodies.run(&permit, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send((weak.strong_count(), turns.available_permits()))
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop((permit, end));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok((1, 0)));
    }

    #[tokio::test]
    async fn work_that_panics_is_lost() {
        let failed = LargeBodies::default().run(&permit(), || panic!("meant")).await;
        assert_eq!(failed.map(|(): ()| ()), Err(LargeBodyError::Lost));
    }

    /// Holds: http.large-bodies
    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_too_long_for_its_turn_is_refused() {
        let (bodies, memory) = (LargeBodies::new(1), permit());
        let held = Arc::clone(&bodies.turns).try_acquire_owned();
        let refused = bodies.run(&memory, || ()).await;
        assert_eq!(refused, Err(LargeBodyError::Busy(BoundOf::Process)));
        drop(held);
        assert!(bodies.run(&memory, || ()).await.is_ok());
        let tenant = Some(TenantId::from(Uuid::from_u128(1)));
        let held = bodies.turns_of(tenant).try_acquire_owned();
        let refused = bodies.run(&permit_of(tenant), || ()).await;
        assert_eq!(refused, Err(LargeBodyError::Busy(BoundOf::Tenant)));
        drop(held);
    }

    /// Holds: http.large-bodies
    #[tokio::test]
    async fn a_tenant_has_at_most_half_of_the_turns() {
        let bodies = LargeBodies::new(2);
        let [one, two] = [1, 2].map(|number| permit_of(Some(TenantId::from(Uuid::from_u128(number)))));
        // All bodies of the first tenant are there before the other's one, and none of them ends.
        let (mut running, mut ends) = (JoinSet::new(), Vec::new());
        for _ in 0..4 {
            let (end, ends_when) = mpsc::channel::<()>();
            running.spawn(bodies.run(&one, move || ends_when.recv().is_ok()));
            ends.push(end);
        }
        tokio::task::yield_now().await;
        assert_eq!(bodies.turns.available_permits(), 1, "half of the turns");
        assert_eq!(bodies.run(&two, || ()).await, Ok(()));
        drop(ends);
        assert_eq!(running.join_all().await, [Ok(false); 4]);
        drop(bodies.turns_of(None));
        assert_eq!(
            bodies.tenants.lock().map(|tenants| tenants.len()).ok(),
            Some(1),
            "tenants without work are forgotten"
        );
    }
}

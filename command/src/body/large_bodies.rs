//! Work on large bodies of requests and answers, on threads of their own, because the other requests of the connection
//! thread would wait. One body for each core at a time, and of one tenant at most half of them, rounded up ([`BODIES`]).

use std::sync::Arc;
use std::time::Duration;

use blocking_work::{BODIES, NotDone, Pool};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::body::memory::{BodyPermit, BoundOf};

/// Work on this many bytes takes at most a few milliseconds, whatever they contain: 28 ns for each byte of a body that is
/// all escapes.
const SMALL_BYTES_MAX: usize = 128 * 1024;
/// The longest wait for a turn. Reading all bodies that fit into the default memory takes one core about 5 s.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

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
    pool: &'static Pool,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self { pool: &BODIES }
    }
}

impl LargeBodies {
    /// Works on so many at a time, and on half as many of one tenant, in a pool that is never dropped.
    #[cfg(test)]
    pub fn new(bodies_max: usize) -> Self {
        let pool = Pool::new("bodies", bodies_max).with_owners(bodies_max.div_ceil(2));
        Self { pool: Box::leak(Box::new(pool)) }
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
        let pool = self.pool;
        Box::pin(async move {
            pool.run_until(tenant, until, work).await.map_err(|not_done| match not_done {
                NotDone::Busy(blocking_work::BoundOf::Owner) if tenant.is_some() => {
                    LargeBodyError::Busy(BoundOf::Tenant)
                }
                NotDone::Busy(_) => LargeBodyError::Busy(BoundOf::Process),
                NotDone::Lost(_) => LargeBodyError::Lost,
            })
        })
    }
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
        let pool = bodies.pool;
        let work = bodies.run(&permit, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send((weak.strong_count(), pool.running()))
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop((permit, end));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok((1, 1)));
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
        let held = bodies.pool.turn(Some(TenantId::from(Uuid::from_u128(2)))).await;
        let refused = bodies.run(&memory, || ()).await;
        assert_eq!(refused, Err(LargeBodyError::Busy(BoundOf::Process)));
        drop(held);
        assert!(bodies.run(&memory, || ()).await.is_ok());
        let tenant = Some(TenantId::from(Uuid::from_u128(1)));
        let held = bodies.pool.turn(tenant).await;
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
        assert_eq!(bodies.pool.running(), 1, "half of the turns");
        assert_eq!(bodies.run(&two, || ()).await, Ok(()));
        drop(ends);
        assert_eq!(running.join_all().await, [Ok(false); 4]);
    }
}

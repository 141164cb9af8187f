//! Work on large request bodies, on threads of their own, because the other requests of the worker would wait.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use events::refusal::{ErrorCode, Refusal};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::body::memory::{BodyPermit, BoundOf};

/// Bodies up to this size take a few milliseconds, whatever they contain.
const SMALL_BYTES_MAX: usize = 512 * 1024;
/// The longest wait for a permit. Reading all bodies that fit into the default memory takes about two seconds of one core.
const WAIT_MAX: Duration = Duration::from_secs(10);

const BUSY: &str =
    "too many large request bodies are waiting for their turn, and nothing was sent to a provider: try again";
const FAILED: &str = "the gateway failed to process the body, and nothing was sent to a provider: try again";

/// Works on large bodies, one for each core at a time.
pub struct LargeBodies {
    permits: Arc<Semaphore>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, usize::from))
    }
}

impl LargeBodies {
    pub(super) fn new(bodies_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(bodies_max)) }
    }

    /// True if a worker should not work on a body of this size.
    pub const fn is_large(bytes: usize) -> bool {
        bytes > SMALL_BYTES_MAX
    }

    /// Runs the work on a large body. Even if the caller stops waiting, the body's memory counts as held until the work is
    /// done. Boxed, so that requests with small bodies have no room for it.
    ///
    /// Errors: `OVERLOADED` without a permit in time; `INTERNAL` if the work has panicked, or the process is ending.
    pub fn run<T: Send + 'static>(
        &self,
        memory: &Arc<BodyPermit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Refusal>> {
        let (permits, memory) = (Arc::clone(&self.permits), Arc::clone(memory));
        Box::pin(async move {
            let permit = timeout(WAIT_MAX, permits.acquire_owned()).await;
            let Ok(Ok(permit)) = permit else { return Err(overloaded()) };
            let working = spawn_blocking(move || {
                let _held = (permit, memory);
                work()
            });
            working.await.map_err(|_| Refusal::new(ErrorCode::Internal, FAILED))
        })
    }
}

fn overloaded() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, BUSY).with("scope", BoundOf::Process.as_str()).try_again()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use events::event::Chain;
    use projections::caller::Caller;

    use super::*;
    use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner};

    fn permit() -> Arc<BodyPermit> {
        let memory = BodyMemory::new(BodyBounds::of_administration());
        Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))))
    }

    /// Holds: http.large-bodies
    #[tokio::test]
    async fn other_tasks_of_the_worker_have_their_turn_meanwhile() {
        let (begin, begins) = mpsc::channel();
        // Ends only when another task of this worker has had its turn.
        let work = LargeBodies::default().run(&permit(), move || begins.recv_timeout(Duration::from_secs(10)).is_ok());
        let other = async move {
            let _ = begin.send(());
        };
        let (has_begun, ()) = tokio::join!(work, other);
        assert_eq!(has_begun.ok(), Some(true));
    }

    #[tokio::test]
    async fn memory_and_permit_are_held_until_the_work_is_done_whether_or_not_somebody_waits() {
        let permit = permit();
        let ((end, ends), (done, is_done)) = (mpsc::channel::<()>(), mpsc::channel());
        let weak = Arc::downgrade(&permit);
        let bodies = LargeBodies::new(1);
        let permits = Arc::clone(&bodies.permits);
        let work = bodies.run(&permit, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send((weak.strong_count(), permits.available_permits()))
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop((permit, end));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok((1, 0)));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_internal_error() {
        let failed = LargeBodies::default().run(&permit(), || panic!("meant")).await;
        assert_eq!(failed.map(|(): ()| ()).map_err(|refusal| refusal.code), Err(ErrorCode::Internal));
    }

    /// Holds: http.large-bodies
    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_too_long_for_its_turn_is_refused() {
        let (bodies, memory) = (LargeBodies::new(1), permit());
        let held = Arc::clone(&bodies.permits).try_acquire_owned();
        let refused = bodies.run(&memory, || ()).await;
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(ErrorCode::Overloaded));
        drop(held);
        assert!(bodies.run(&memory, || ()).await.is_ok());
    }
}

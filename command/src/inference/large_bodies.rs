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

/// Bodies up to this size are read or written in milliseconds, however they are made.
const SMALL_BYTES_MAX: usize = 512 * 1024;
/// The longest wait for a permit. All bodies that fit into the default memory take about two seconds of one core.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Works on large bodies, one for each core at a time. Cheap to clone; clones share the bound.
#[derive(Clone)]
pub struct LargeBodies {
    permits: Arc<Semaphore>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))) }
    }
}

impl LargeBodies {
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
            working
                .await
                .map_err(|_| Refusal::new(ErrorCode::Internal, "the gateway could not read the body: try again"))
        })
    }
}

fn overloaded() -> Refusal {
    let message = "the gateway is reading as many large request bodies as it can at a time: try again";
    Refusal::new(ErrorCode::Overloaded, message).with("scope", BoundOf::Process.as_str()).try_again()
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
    async fn the_memory_counts_until_the_work_is_done_whether_or_not_somebody_waits() {
        let permit = permit();
        let ((end, ends), (done, is_done)) = (mpsc::channel::<()>(), mpsc::channel());
        let weak = Arc::downgrade(&permit);
        let bodies = LargeBodies::default();
        let work = bodies.run(&permit, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send(weak.strong_count())
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop((permit, end));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_internal_error() {
        let failed = LargeBodies::default().run(&permit(), || panic!("meant")).await;
        assert_eq!(failed.map(|(): ()| ()).map_err(|refusal| refusal.code), Err(ErrorCode::Internal));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_there_are_cores_at_a_time_and_the_next_one_is_refused_if_they_take_too_long() {
        let (bodies, memory) = (LargeBodies::default(), permit());
        let mut held: Vec<_> = Vec::new();
        while let Ok(permit) = Arc::clone(&bodies.permits).try_acquire_owned() {
            held.push(permit);
        }
        let refused = bodies.run(&memory, || ()).await;
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(ErrorCode::Overloaded));
        held.pop();
        assert!(bodies.run(&memory, || ()).await.is_ok());
    }
}

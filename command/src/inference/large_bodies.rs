//! Work on request bodies: at once, or on a thread of its own if the body is large, because the other requests of the worker
//! would wait.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use events::refusal::{ErrorCode, Refusal};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::body::memory::{BodyPermit, BoundOf};

/// Bodies up to this size are read or written in milliseconds, however they are made.
const AT_ONCE_BYTES_MAX: usize = 512 * 1024;
/// The longest wait for a permit. All bodies that fit into memory are read in less.
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
    /// Runs the work on a body of `bytes`. Even if the caller stops waiting, the body's memory counts as held until the work
    /// is done.
    ///
    /// Errors: `OVERLOADED` without a permit in time; `INTERNAL` if the work has panicked, or the process is ending.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        memory: &Arc<BodyPermit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes <= AT_ONCE_BYTES_MAX {
            return Ok(work());
        }
        let permit = timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(overloaded()) };
        let held = (permit, Arc::clone(memory));
        let working = spawn_blocking(move || {
            let _held = held;
            work()
        });
        working.await.map_err(|_| Refusal::new(ErrorCode::Internal, "the gateway could not read the body: try again"))
    }
}

fn overloaded() -> Refusal {
    let message = "the gateway is reading as many large request bodies as it can at a time: try again";
    Refusal::new(ErrorCode::Overloaded, message).with("scope", BoundOf::Process.as_str()).try_again()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use events::event::Chain;
    use projections::caller::Caller;

    use super::*;
    use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner};

    const LARGE: usize = AT_ONCE_BYTES_MAX + 1;

    fn permit() -> Arc<BodyPermit> {
        let memory = BodyMemory::new(BodyBounds::of_administration());
        Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))))
    }

    #[tokio::test]
    async fn a_large_body_leaves_the_worker_to_others_and_a_small_one_does_not_change_threads() {
        let worker = thread::current().id();
        for (bytes, is_on_worker) in [(AT_ONCE_BYTES_MAX, true), (LARGE, false)] {
            let worked_on = LargeBodies::default().run(bytes, &permit(), || thread::current().id()).await;
            assert_eq!(worked_on.map(|thread| thread == worker).ok(), Some(is_on_worker), "{bytes} bytes");
        }
        let (permit, (begin, begins)) = (permit(), mpsc::channel());
        // Ends only when another task of this worker has had its turn.
        let bodies = LargeBodies::default();
        let work = bodies.run(LARGE, &permit, move || begins.recv_timeout(Duration::from_secs(10)).is_ok());
        let (has_begun, ()) = tokio::join!(work, async move {
            let _ = begin.send(());
        });
        assert_eq!(has_begun.ok(), Some(true));
    }

    #[tokio::test]
    async fn the_memory_counts_until_the_work_is_done_whether_or_not_somebody_waits() {
        let permit = permit();
        let ((end, ends), (done, is_done)) = (mpsc::channel::<()>(), mpsc::channel());
        let weak = Arc::downgrade(&permit);
        let bodies = LargeBodies::default();
        let work = bodies.run(LARGE, &permit, move || {
            let _ = ends.recv_timeout(Duration::from_secs(10));
            done.send(weak.strong_count())
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        drop((permit, end));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_internal_error() {
        let failed = LargeBodies::default().run(LARGE, &permit(), || panic!("meant")).await;
        assert_eq!(failed.map(|(): ()| ()).map_err(|refusal| refusal.code), Err(ErrorCode::Internal));
    }
    #[tokio::test(start_paused = true)]
    async fn as_many_as_there_are_cores_at_a_time_and_the_next_one_is_refused_if_they_take_too_long() {
        let (bodies, memory) = (LargeBodies::default(), permit());
        let mut held: Vec<_> = Vec::new();
        while let Ok(permit) = Arc::clone(&bodies.permits).try_acquire_owned() {
            held.push(permit);
        }
        let refused = bodies.run(LARGE, &memory, || ()).await;
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(ErrorCode::Overloaded));
        assert!(bodies.run(AT_ONCE_BYTES_MAX, &memory, || ()).await.is_ok(), "a small one needs no permit");
        held.pop();
        assert!(bodies.run(LARGE, &memory, || ()).await.is_ok());
    }
}

//! The threads that serve connections, one per core, each with a runtime of its own. A client's connection stays on its
//! thread, and prefers HTTP/1.1 connections to upstreams that the same thread watches, so that what arrives wakes no other
//! thread.
//!
//! A new connection goes to the worker with the fewest requests in progress, and of equals to the next one in turn.
//! Connections do not count: idle ones cost nothing, and anyone could open many to steer those of others. The kernel's own choice was
//! rejected, because it can give one worker nearly all. The streams of an HTTP/2 connection are spread over the workers, so
//! that one client can use all cores. A request that computes for long delays the other requests of its worker.
//!
//! Rejected: one runtime whose threads share all tasks. It wakes a second thread for most of what it waits for, and moves
//! requests between cores (ADR-0015).

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use hyper::rt::Executor;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads for work that blocks, such as hashing keys: this many divided among the workers, but at least
/// [`BLOCKING_THREADS_OF_WORKER_MIN`] for each.
const BLOCKING_THREADS_MAX: usize = 512;
const BLOCKING_THREADS_OF_WORKER_MIN: usize = 16;

/// The threads. When this is dropped, they stop, and end the tasks that are left.
pub struct WorkerThreads {
    workers: Workers,
    stopping: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// The workers. Each connection and each HTTP/2 stream runs on one of them. Cheap to clone.
#[derive(Clone)]
pub struct Workers(Arc<WorkerList>);

struct WorkerList {
    first: Worker,
    others: Vec<Worker>,
    /// Counts connections, so that equal workers take turns.
    connections: AtomicUsize,
}

#[derive(Clone)]
pub struct Worker {
    runtime: Handle,
    requests: Arc<AtomicUsize>,
}

/// A request in progress, which counts as its worker's until this is dropped.
pub struct WorkerRequest(Arc<AtomicUsize>);

impl WorkerThreads {
    /// Starts a worker per core that the process may use, by its CPU affinity and quota.
    ///
    /// Errors: a thread or its runtime cannot be created.
    pub fn start() -> io::Result<Self> {
        Self::start_some(thread::available_parallelism()?)
    }

    fn start_some(count: NonZeroUsize) -> io::Result<Self> {
        let stopping = CancellationToken::new();
        let mut threads = Vec::with_capacity(count.get());
        let mut start = |number: usize| {
            start_worker(number, count, &stopping).map(|(worker, thread)| {
                threads.push(thread);
                worker
            })
        };
        let first = start(1)?;
        let others = (2..=count.get()).map(start).collect::<io::Result<_>>()?;
        let workers = Workers(Arc::new(WorkerList { first, others, connections: AtomicUsize::new(0) }));
        Ok(Self { workers, stopping, threads })
    }

    /// The workers. After the threads have stopped, whatever is given to these is dropped.
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }

    /// Ends all tasks, and waits until they have ended. Blocking.
    pub fn stop(mut self) {
        self.stopping.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn start_worker(
    number: usize,
    count: NonZeroUsize,
    stopping: &CancellationToken,
) -> io::Result<(Worker, JoinHandle<()>)> {
    let blocking_threads = (BLOCKING_THREADS_MAX / count).max(BLOCKING_THREADS_OF_WORKER_MIN);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("blocking")
        .max_blocking_threads(blocking_threads)
        .build()?;
    let worker = Worker { runtime: runtime.handle().clone(), requests: Arc::default() };
    let stopping = stopping.clone();
    let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(stopping.cancelled());
        // Ends the tasks. Work that blocks is left behind.
        runtime.shutdown_background();
    })?;
    Ok((worker, thread))
}

impl Workers {
    pub fn count(&self) -> usize {
        self.0.others.len() + 1
    }

    /// The worker for a new connection.
    pub fn for_connection(&self) -> &Worker {
        let turn = self.0.connections.fetch_add(1, Ordering::Relaxed) % self.count();
        self.least(|index, worker| (worker.requests(), (index + self.count() - turn) % self.count()))
    }

    /// The worker for a stream of an HTTP/2 connection: the current one, unless another has fewer requests even with one
    /// more. What stays on a worker wakes no other.
    fn for_stream(&self) -> &Worker {
        let current = Handle::try_current().ok().map(|runtime| runtime.id());
        self.least(|_, worker| {
            let is_other = current != Some(worker.runtime.id());
            (worker.requests() + usize::from(is_other), usize::from(is_other))
        })
    }

    fn all(&self) -> impl Iterator<Item = &Worker> {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }

    /// The worker with the lowest rank, and of equals the first. A rank is computed from index and worker.
    fn least(&self, rank: impl Fn(usize, &Worker) -> (usize, usize)) -> &Worker {
        let least = self.all().enumerate().min_by_key(|(index, worker)| rank(*index, worker));
        least.map_or(&self.0.first, |(_, worker)| worker)
    }
}

impl Worker {
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub fn begin_request(&self) -> WorkerRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        WorkerRequest(Arc::clone(&self.requests))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for WorkerRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the streams of HTTP/2 connections. They end with their connection.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Workers {
    fn execute(&self, stream: F) {
        let worker = self.for_stream();
        let request = worker.begin_request();
        drop(worker.runtime.spawn(async move {
            stream.await;
            drop(request);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Id;

    use super::*;

    fn start(count: usize) -> WorkerThreads {
        WorkerThreads::start_some(NonZeroUsize::new(count).expect("at least one")).expect("threads")
    }

    fn ids(threads: &WorkerThreads) -> Vec<Id> {
        threads.workers.all().map(|worker| worker.runtime.id()).collect()
    }

    #[test]
    fn connections_go_to_the_workers_with_the_fewest_requests_and_to_equals_in_turn() {
        let threads = start(3);
        let (workers, ids) = (threads.workers(), ids(&threads));
        let next = || workers.for_connection().runtime.id();
        assert_eq!([(); 6].map(|()| next()), [ids[0], ids[1], ids[2], ids[0], ids[1], ids[2]]);
        let busy = workers.0.first.begin_request();
        assert_eq!([(); 3].map(|()| next()), [ids[1], ids[1], ids[2]], "not the busy one");
        let others: Vec<_> = workers.0.others.iter().map(Worker::begin_request).collect();
        assert_eq!([(); 3].map(|()| next()), [ids[0], ids[1], ids[2]], "all are busy");
        drop((busy, others));
        assert_eq!([(); 3].map(|()| next()), [ids[0], ids[1], ids[2]]);
    }

    #[test]
    fn the_streams_of_one_connection_use_all_workers() {
        let threads = start(2);
        let (workers, ids) = (threads.workers(), ids(&threads));
        let (sender, receiver) = mpsc::channel();
        // From the second worker, so that it makes a difference where the streams begin.
        drop(threads.workers().0.others[0].runtime.spawn(async move {
            for _ in 0..8 {
                let sender = sender.clone();
                workers.execute(async move {
                    let _ = sender.send(Handle::current().id());
                    std::future::pending::<()>().await;
                });
            }
        }));
        let mut streams = [(); 8].map(|()| receiver.recv_timeout(Duration::from_secs(10)).expect("a stream"));
        streams.sort_by_key(|stream| *stream != ids[0]);
        // Its own has at most two more.
        assert_eq!(streams, [[ids[0]; 3].as_slice(), &[ids[1]; 5]].concat()[..]);
    }

    #[test]
    fn a_stream_stays_on_its_worker_if_no_other_has_less_to_do() {
        let threads = start(2);
        let (workers, ids) = (threads.workers(), ids(&threads));
        let (sender, receiver) = mpsc::channel();
        drop(threads.workers().0.others[0].runtime.spawn(async move {
            let _ = sender.send(workers.for_stream().runtime.id());
        }));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(ids[1]));
    }

    #[test]
    fn workers_stop_when_their_threads_are_dropped() {
        let threads = start(2);
        let (sender, receiver) = mpsc::channel::<()>();
        threads.workers().execute(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn tasks_have_ended_when_workers_have_stopped() {
        struct Ended(mpsc::Sender<()>);
        impl Drop for Ended {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let threads = start(2);
        let (sender, receiver) = mpsc::channel();
        for _ in 0..4 {
            let ended = Ended(sender.clone());
            threads.workers().execute(async move {
                let _ended = ended;
                std::future::pending::<()>().await;
            });
        }
        threads.stop();
        assert_eq!(receiver.try_iter().count(), 4);
    }
}

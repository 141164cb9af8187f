//! The threads that serve connections, one per core, each with a runtime of its own: a connection stays on one thread, with
//! its upstream connections, and what one thread waits for wakes no other.
//!
//! A new connection goes to the worker with the fewest, because the kernel's own choice can give one worker nearly all. The
//! streams of an HTTP/2 connection are spread over the workers, so that one client can use all cores. Not guaranteed: that a
//! request which computes for long holds up nobody; the others of its worker wait for it.
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

/// The threads. When this is dropped, they stop, and end the tasks that are left.
pub struct WorkerThreads {
    workers: Workers,
    stopping: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// The workers, to place connections and streams on. Cheap to clone.
#[derive(Clone)]
pub struct Workers(Arc<Team>);

struct Team {
    first: Worker,
    others: Vec<Worker>,
}

struct Worker {
    runtime: Handle,
    /// Connections, and streams of HTTP/2 connections.
    load: Arc<AtomicUsize>,
}

/// A place on a worker, until it is dropped.
pub struct Place {
    pub runtime: Handle,
    load: Arc<AtomicUsize>,
}

impl WorkerThreads {
    /// Starts a worker per core.
    pub fn start() -> io::Result<Self> {
        Self::start_some(thread::available_parallelism()?)
    }

    fn start_some(count: NonZeroUsize) -> io::Result<Self> {
        let stopping = CancellationToken::new();
        let mut threads = Vec::with_capacity(count.get());
        let mut start = |number: usize| {
            start_worker(number, &stopping).map(|(worker, thread)| {
                threads.push(thread);
                worker
            })
        };
        let first = start(1)?;
        let others = (2..=count.get()).map(start).collect::<io::Result<_>>()?;
        Ok(Self { workers: Workers(Arc::new(Team { first, others })), stopping, threads })
    }

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

fn start_worker(number: usize, stopping: &CancellationToken) -> io::Result<(Worker, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let worker = Worker { runtime: runtime.handle().clone(), load: Arc::default() };
    let stopping = stopping.clone();
    let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(stopping.cancelled());
        // Ends the tasks. Work that blocks, such as hashing a key, is left behind.
        runtime.shutdown_background();
    })?;
    Ok((worker, thread))
}

impl Workers {
    /// A place on the worker with the fewest connections and streams. On the current one, unless another has fewer even with
    /// one more: what stays on a worker wakes no other.
    pub fn place(&self) -> Place {
        let current = Handle::try_current().ok().map(|runtime| runtime.id());
        let load_at =
            |worker: &Worker| worker.load.load(Ordering::Relaxed) + usize::from(current != Some(worker.runtime.id()));
        let Team { first, others } = &*self.0;
        let least =
            others.iter().fold(first, |least, other| if load_at(other) < load_at(least) { other } else { least });
        least.load.fetch_add(1, Ordering::Relaxed);
        Place { runtime: least.runtime.clone(), load: Arc::clone(&least.load) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the streams of HTTP/2 connections. They end with their connection.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Workers {
    fn execute(&self, stream: F) {
        let place = self.place();
        let runtime = place.runtime.clone();
        drop(runtime.spawn(async move {
            stream.await;
            drop(place);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn start(count: usize) -> WorkerThreads {
        WorkerThreads::start_some(NonZeroUsize::new(count).expect("at least one")).expect("threads")
    }

    #[test]
    fn connections_are_spread_evenly_whatever_ends() {
        let threads = start(3);
        let workers = threads.workers();
        let mut places: Vec<_> = (0..9).map(|_| workers.place()).collect();
        let of_first = places[0].runtime.id();
        places.retain(|place| place.runtime.id() != of_first);
        assert_eq!(places.len(), 6);
        // All new ones go where places have become free.
        let fresh: Vec<_> = (0..3).map(|_| workers.place()).collect();
        assert!(fresh.iter().all(|place| place.runtime.id() == of_first));
    }

    #[test]
    fn the_streams_of_one_connection_use_all_workers_and_the_first_its_own() {
        let threads = start(2);
        let workers = threads.workers();
        let connection = workers.place();
        let (sender, receiver) = mpsc::channel();
        let own = connection.runtime.id();
        drop(connection.runtime.clone().spawn(async move {
            let _connection = connection;
            let streams: Vec<_> = (0..8).map(|_| workers.place()).collect();
            let _ = sender.send(streams.iter().map(|place| place.runtime.id()).collect::<Vec<_>>());
        }));
        let streams = receiver.recv_timeout(Duration::from_secs(10)).expect("the places");
        assert_eq!(streams[0], own);
        let mut counts = HashMap::new();
        streams.iter().for_each(|runtime| *counts.entry(runtime).or_insert(0) += 1);
        assert_eq!(counts.into_values().min(), Some(4));
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

//! The threads that serve connections, one per core, each with a runtime of its own. A client's connection stays on its
//! thread, and prefers HTTP/1.1 connections to upstreams that the same thread watches, so that what arrives wakes no other
//! thread.
//!
//! They are given new connections in turn. Counting connections or requests instead was rejected: waiting ones cost their
//! client nothing, so a few of them could steer everybody else's connections to one thread. The kernel's choice was rejected,
//! because it can give one thread nearly all. The streams of an HTTP/2 connection are spread over the threads by what that
//! connection has there, so that one client can use all cores and steers nobody else. A request that computes for long delays
//! the other requests of its thread. One more, `commands`, runs what tenants ask of administration, so that it delays no request on the
//! threads of connections.
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
pub struct ConnectionThreads {
    runtimes: ThreadRuntimes,
    stopping: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// The runtimes of the threads. Cheap to clone.
#[derive(Clone)]
pub struct ThreadRuntimes(Arc<RuntimeList>);

struct RuntimeList {
    handles: Vec<Handle>,
    /// Counts connections, so that threads take turns.
    connections: AtomicUsize,
}

/// The thread of one connection, and those of its HTTP/2 streams. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct ConnectionRuntimes {
    runtimes: ThreadRuntimes,
    own: usize,
    /// The open streams of this connection, by thread.
    streams: Arc<[AtomicUsize]>,
}

/// An open stream, which counts until this is dropped.
struct OpenStream {
    streams: Arc<[AtomicUsize]>,
    thread: usize,
}

impl ConnectionThreads {
    /// Starts one thread for each core that the process may use, by its CPU affinity and quota.
    ///
    /// Errors: a thread or its runtime cannot be created.
    pub fn start() -> io::Result<Self> {
        Self::start_some(thread::available_parallelism()?)
    }

    fn start_some(count: NonZeroUsize) -> io::Result<Self> {
        let stopping = CancellationToken::new();
        let mut threads = Vec::with_capacity(count.get());
        let mut start = |number: usize| {
            start_thread(&format!("conn-{number}"), &stopping).map(|(runtime, thread)| {
                threads.push(thread);
                runtime
            })
        };
        let handles = (1..=count.get()).map(&mut start).collect::<io::Result<_>>()?;
        let runtimes = ThreadRuntimes(Arc::new(RuntimeList { handles, connections: AtomicUsize::new(0) }));
        Ok(Self { runtimes, stopping, threads })
    }

    /// Starts one more thread, for what tenants ask of administration.
    ///
    /// Errors: the thread or its runtime cannot be created.
    pub fn start_for_commands(&mut self) -> io::Result<Handle> {
        let (runtime, thread) = start_thread("commands", &self.stopping)?;
        self.threads.push(thread);
        Ok(runtime)
    }

    /// Their runtimes. After the threads have stopped, whatever is given to these is dropped.
    pub fn runtimes(&self) -> ThreadRuntimes {
        self.runtimes.clone()
    }

    /// Ends all tasks, and waits until they have ended. Blocking.
    pub fn stop(mut self) {
        self.stopping.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that serves connections has panicked");
            }
        }
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Starts a thread with a runtime of its own.
fn start_thread(name: &str, stopping: &CancellationToken) -> io::Result<(Handle, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("blocking")
        .max_blocking_threads(blocking_work::threads_max())
        .build()?;
    let handle = runtime.handle().clone();
    let stopping = stopping.clone();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(stopping.cancelled());
        // Ends the tasks. Work that blocks is left behind.
        runtime.shutdown_background();
    })?;
    Ok((handle, thread))
}

impl ThreadRuntimes {
    pub fn count(&self) -> usize {
        self.0.handles.len()
    }

    /// The next thread in turn, for a new connection.
    pub fn for_connection(&self) -> ConnectionRuntimes {
        let own = self.0.connections.fetch_add(1, Ordering::Relaxed) % self.count();
        let streams = self.0.handles.iter().map(|_| AtomicUsize::new(0)).collect();
        ConnectionRuntimes { runtimes: self.clone(), own, streams }
    }
}

impl ConnectionRuntimes {
    /// The runtime of the connection's thread.
    pub fn runtime(&self) -> &Handle {
        &self.runtimes.0.handles[self.own]
    }

    /// The thread for a new stream: the connection's own, unless others have fewer of its streams even with one more, and
    /// then the next of these. What stays on a thread wakes no other.
    fn open_stream(&self) -> OpenStream {
        let count = self.streams.len();
        let rank = |thread: &usize| {
            let distance = (thread + count - self.own) % count;
            (self.streams[*thread].load(Ordering::Relaxed) + usize::from(distance > 0), distance)
        };
        let thread = (0..count).min_by_key(rank).unwrap_or(self.own);
        self.streams[thread].fetch_add(1, Ordering::Relaxed);
        OpenStream { streams: Arc::clone(&self.streams), thread }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams[self.thread].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the streams of an HTTP/2 connection. They end with it.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionRuntimes {
    fn execute(&self, stream: F) {
        let open = self.open_stream();
        let runtime = &self.runtimes.0.handles[open.thread];
        drop(runtime.spawn(async move {
            stream.await;
            drop(open);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Id;

    use super::*;

    fn start(count: usize) -> ConnectionThreads {
        ConnectionThreads::start_some(NonZeroUsize::new(count).expect("at least one")).expect("threads")
    }

    fn ids(threads: &ConnectionThreads) -> Vec<Id> {
        threads.runtimes.0.handles.iter().map(Handle::id).collect()
    }

    #[test]
    fn threads_are_given_connections_in_turn_whatever_others_have_open() {
        let threads = start(3);
        let (runtimes, ids) = (threads.runtimes(), ids(&threads));
        let open: Vec<_> = (0..3).map(|_| runtimes.for_connection()).collect();
        let streams: Vec<_> = (0..9).map(|_| open[0].open_stream()).collect();
        let next = || runtimes.for_connection().runtime().id();
        assert_eq!([(); 6].map(|()| next()), [ids[0], ids[1], ids[2], ids[0], ids[1], ids[2]]);
        drop((streams, open));
        assert_eq!([(); 3].map(|()| next()), [ids[0], ids[1], ids[2]]);
    }

    fn threads_of(streams: &[OpenStream]) -> Vec<usize> {
        streams.iter().map(|stream| stream.thread).collect()
    }

    fn open_streams(connection: &ConnectionRuntimes, count: usize) -> Vec<OpenStream> {
        (0..count).map(|_| connection.open_stream()).collect()
    }

    #[test]
    fn the_streams_of_one_connection_use_all_threads_and_steer_no_other_connection() {
        let threads = start(2);
        let [first, _, third] = [(); 3].map(|()| threads.runtimes().for_connection());
        let mut streams = open_streams(&first, 8);
        assert_eq!(threads_of(&streams), [0, 0, 1, 0, 1, 0, 1, 0], "its own has at most two more");
        assert_eq!(threads_of(&open_streams(&third, 2)), [0, 0]);
        streams.retain(|stream| stream.thread == 1);
        assert_eq!(threads_of(&open_streams(&first, 5)), [0; 5], "closed streams do not count");
    }

    #[test]
    fn connections_spread_their_streams_over_different_threads() {
        let threads = start(3);
        let connections = [(); 3].map(|()| threads.runtimes().for_connection());
        let threads_of = connections.map(|connection| threads_of(&open_streams(&connection, 4)));
        assert_eq!(threads_of, [[0, 0, 1, 2], [1, 1, 2, 0], [2, 2, 0, 1]]);
    }

    #[test]
    fn a_stream_runs_where_it_counts() {
        let threads = start(2);
        let (connection, ids) = (threads.runtimes().for_connection(), ids(&threads));
        let (sender, receiver) = mpsc::channel();
        for _ in 0..3 {
            let sender = sender.clone();
            connection.execute(async move {
                let _ = sender.send(Handle::current().id());
                std::future::pending::<()>().await;
            });
        }
        let mut ran = [(); 3].map(|()| receiver.recv_timeout(Duration::from_secs(10)).expect("a stream"));
        ran.sort_by_key(|id| *id != ids[0]);
        assert_eq!(ran, [ids[0], ids[0], ids[1]]);
    }

    /// `top` shows the names; that of a mode or of another process would be taken for something else.
    #[test]
    fn threads_are_named_by_what_they_serve_and_numbered() {
        let threads = start(2);
        let (sender, receiver) = mpsc::channel();
        for handle in &threads.runtimes.0.handles {
            let sender = sender.clone();
            handle.spawn(async move { sender.send(thread::current().name().map(str::to_owned)) });
        }
        let mut names = [(); 2].map(|()| receiver.recv_timeout(Duration::from_secs(10)).expect("a thread"));
        names.sort();
        assert_eq!(names, ["conn-1", "conn-2"].map(|name| Some(name.to_owned())));
    }

    #[test]
    fn tasks_end_when_the_threads_are_dropped() {
        let threads = start(2);
        let (sender, receiver) = mpsc::channel::<()>();
        threads.runtimes().for_connection().execute(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn tasks_have_ended_when_the_threads_have_stopped() {
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
            threads.runtimes().for_connection().execute(async move {
                let _ended = ended;
                std::future::pending::<()>().await;
            });
        }
        threads.stop();
        assert_eq!(receiver.try_iter().count(), 4);
    }
}

//! The connection pool of one provider, which its tenants share.
//!
//! - **HTTP/1.1**: a connection carries one request at a time. The pool opens as many as requests need, without a bound of its
//!   own (calls, and [the sockets of all pools](super::sockets), have bounds), and keeps idle ones for 50 s. Every 5 s it closes those
//!   beyond its part of the sockets, and looks for those that the provider has closed. A request takes an idle one that its own
//!   connection thread watches, or else the one used last.
//! - **HTTP/2**: a connection carries as many streams as its peer allows, at most 100. The next request uses the connection with
//!   the fewest streams. The pool opens another connection, up to 64, when half of the streams are in use or a request waits. If
//!   one cannot be opened, or takes no streams, the pool waits half a second before the next attempt. After 10,000 streams, a
//!   connection takes no new ones and closes when the open ones have ended. The thread that opened a connection polls it.
//!
//! Tenants share the streams of the open connections ([`shares`](super::shares)). A tenant may have at most twice as many streams as are free:
//! two thirds of all if it is alone, less next to others, and of three streams or more never all, so a tenant whose clients read
//! slowly cannot lock out the others. Shares count the streams of open connections only: counting those that the pool could open
//! gave one tenant everything at an upstream that accepts a single connection. Requests that get no stream wait up to 15 s in a
//! queue with one line per tenant; the tenant with the fewest streams goes first. Tasks of the pool open connections for the
//! whole queue and not for one request, so a request that leaves stops nothing that others wait for.
//!
//! A connection's flow-control window is larger than the windows of all its streams together, so a response that nobody reads
//! stalls only itself. It is much larger because h2 closes a connection when too much unread data arrived in small frames, and
//! derives that limit from the connection's window.
//!
//! The pool sends a request again only if the upstream says that it has not processed it (it refused the stream, or the stream is
//! above the last one that its GOAWAY names), or if no connection took it: three attempts in all. Choosing another provider, and
//! the deadline of a response, are the caller's.
//!
//! A client with one HTTP/2 connection per provider was rejected: the peer's limit of streams would be one limit for all
//! tenants. State that needs a lock is in [`state`], where nothing waits; connections are dropped after the lock.

mod http1;
mod http2;
mod idle;
mod lease;
mod queue;
mod reap;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::Connection as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::SendError;
use super::connect::Connector;
use crate::Owner;
use crate::sockets::IdlePool;
use http1::Http1Connection;
pub use lease::{Lease, NoResponse, Origin, ResponseBody};
use state::State;

/// The longest wait of a request for a connection or a stream. Longer than connecting may take.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// The pause after a connection could not be opened while others are in use, or takes no streams.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long a peer of HTTP/2 has to announce its limit of streams.
const SETTINGS_WAIT: Duration = Duration::from_secs(1);

/// A connection pool. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<PoolInner>,
}

struct PoolInner {
    connector: Connector,
    address: Uri,
    state: Mutex<State>,
    tasks: TaskTracker,
}

/// A connection that was just opened.
enum NewConnection {
    Http1(Http1Connection),
    Http2(http2::Http2Connection),
}

impl Pool {
    pub fn new(connector: Connector, address: Uri) -> Self {
        let (state, tasks) = (Mutex::default(), TaskTracker::new());
        Self { inner: Arc::new(PoolInner { connector, address, state, tasks }) }
    }

    /// Waits for room for one request.
    ///
    /// Errors: no connection can be opened; none had room in time; the queue is full.
    pub async fn lease(&self, owner: Owner) -> Result<Lease, SendError> {
        while let Some(mut lease) = self.take(owner) {
            if lease.check_open().await {
                return Ok(lease);
            }
            // It was idle and can take no request: the next one, or the queue.
        }
        let (_in_queue, receiver) = self.join_queue(owner)?;
        self.serve_queue();
        // A sender that leaves the queue always sends.
        timeout(WAIT_MAX, receiver).await.ok().and_then(Result::ok).unwrap_or(Err(SendError::Busy))
    }

    /// Takes free room; `None` if there is none, or others wait for it.
    fn take(&self, owner: Owner) -> Option<Lease> {
        let mut state = self.lock();
        let lease = state.take(self, owner)?;
        let missing = state.begin_connecting();
        drop(state);
        self.open(missing);
        Some(lease)
    }

    fn join_queue(&self, owner: Owner) -> Result<(InQueue, Served), SendError> {
        let (ticket, receiver) = self.lock().queue.join(owner).ok_or(SendError::Busy)?;
        Ok((InQueue { pool: self.clone(), ticket }, receiver))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn downgrade(&self) -> WeakPool {
        WeakPool(Arc::downgrade(&self.inner))
    }

    /// Gives free room to waiting requests, and opens the connections that are missing.
    fn serve_queue(&self) {
        let mut state = self.lock();
        let not_taken = state.serve_queue(self);
        let missing = state.begin_connecting();
        drop(state);
        // After the lock, because a returned lease takes it again.
        drop(not_taken);
        self.open(missing);
    }

    fn serve_queue_after(&self, state: MutexGuard<'_, State>) {
        let is_empty = state.queue.is_empty();
        drop(state);
        if !is_empty {
            self.serve_queue();
        }
    }

    /// Opens this many connections, which already count as being opened.
    fn open(&self, connections: usize) {
        for _ in 0..connections {
            let (connector, address) = (self.inner.connector.clone(), self.inner.address.clone());
            let (pool, tasks) = (self.downgrade(), self.inner.tasks.clone());
            self.inner.tasks.spawn(async move {
                let opened = open(&connector, address, &pool, &tasks).await;
                if let Some(pool) = pool.upgrade() {
                    pool.add(opened);
                }
            });
        }
    }

    /// Adds a new connection, or handles the failure to open one.
    fn add(&self, opened: Result<NewConnection, SendError>) {
        let mut surplus = None;
        let mut state = self.lock();
        match opened {
            Ok(NewConnection::Http1(connection)) => surplus = Some(state.add_http1(connection)),
            Ok(NewConnection::Http2(connection)) => {
                let id = state.add_http2(connection.sender);
                self.watch_idle(&mut state);
                drop(state);
                connection.streams_watch.start(id);
                self.serve_queue();
                self.change_later(SETTINGS_WAIT, move |state| state.end_settings_wait(id));
                return;
            }
            Err(error) => {
                state.connecting -= 1;
                if state.may_get_room() {
                    self.pause(&mut state);
                } else {
                    for waiter in state.take_waiters_without_connection() {
                        // The request may have left.
                        let _ = waiter.send(Err(error));
                    }
                }
            }
        }
        self.watch_idle(&mut state);
        drop(state);
        drop(surplus);
        self.serve_queue();
    }

    /// Opens no connection for a while.
    fn pause(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_pausing, true) {
            self.change_later(CONNECT_PAUSE, |state| state.is_pausing = false);
        }
    }

    /// Changes the state after `wait`, then serves the queue.
    fn change_later(&self, wait: Duration, change: impl FnOnce(&mut State) + Send + 'static) {
        let pool = self.downgrade();
        self.inner.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(pool) = pool.upgrade() {
                change(&mut pool.lock());
                pool.serve_queue();
            }
        });
    }

    /// Sets how many streams the peer of an HTTP/2 connection allows.
    fn set_streams_max(&self, id: u64, streams: usize) {
        let mut state = self.lock();
        let useless = state.set_streams_max(id, streams);
        if useless.is_some() {
            self.pause(&mut state);
        }
        self.serve_queue_after(state);
        drop(useless);
    }

    /// Opens no more streams on this connection; the open ones continue.
    fn retire(&self, id: u64) {
        let mut state = self.lock();
        let retired = state.retire(id);
        self.serve_queue_after(state);
        drop(retired);
    }

    fn end_stream(&self, id: u64, owner: Owner) {
        let mut state = self.lock();
        let useless = state.end_stream(id, owner);
        if useless.is_some() {
            self.pause(&mut state);
        }
        self.watch_idle(&mut state);
        self.serve_queue_after(state);
        drop(useless);
    }

    /// Takes back an HTTP/1.1 connection that is ready for another request.
    fn give_back(&self, connection: Http1Connection) {
        let mut state = self.lock();
        let surplus = state.keep_idle(connection);
        self.watch_idle(&mut state);
        self.serve_queue_after(state);
        drop(surplus);
    }
}

/// The pool as its tasks hold it, so that they do not keep it alive.
#[derive(Clone)]
pub struct WeakPool(Weak<PoolInner>);

impl IdlePool for WeakPool {
    fn close_idle(&self, keep: usize, count_max: usize) -> usize {
        let Some(pool) = self.upgrade() else { return 0 };
        let closing = pool.lock().take_idle(keep, count_max);
        closing.count()
    }
}

impl WeakPool {
    fn upgrade(&self) -> Option<Pool> {
        self.0.upgrade().map(|inner| Pool { inner })
    }
}

async fn open(
    connector: &Connector,
    address: Uri,
    pool: &WeakPool,
    tasks: &TaskTracker,
) -> Result<NewConnection, SendError> {
    let stream = connector.connect(address).await?;
    if stream.connected().is_negotiated_h2() {
        return http2::open(stream, pool.clone(), tasks).await.map(NewConnection::Http2);
    }
    Http1Connection::open(stream).await.map(NewConnection::Http1)
}

/// Gives a request in the queue its room.
type Served = oneshot::Receiver<Result<Lease, SendError>>;

/// A request in the queue; dropping it leaves the queue.
struct InQueue {
    pool: Pool,
    ticket: u64,
}

impl Drop for InQueue {
    fn drop(&mut self) {
        self.pool.lock().queue.leave(self.ticket);
    }
}

#[cfg(test)]
pub mod tests;

//! The connections to one provider. HTTP/1.1 takes one request a connection: as many are opened as are asked for, and kept
//! for a while. HTTP/2 takes several, as many as the peer says: another is opened as those that there are fill up, and
//! where no more may be opened tenants share what there is.
//!
//! A request that finds no room waits in a queue. Connections are opened by tasks of their own, for whoever waits then:
//! nobody's leaving stops one that others wait for.

mod http2;
mod lease;
mod queue;
mod reap;
mod shares;
mod state;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use events::ids::TenantId;
use http::Uri;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::Connection as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connect::Connector;
use super::{READ_BUFFER_MAX, RequestBody, SendError};
pub use lease::{Lease, NotAnswered, Origin, ResponseBody};
use state::State;

/// Whose requests share what an upstream can take: a tenant's; `None` is the operator's own.
pub type Party = Option<TenantId>;

/// How long a request waits for a connection, or for a stream of one. Longer than connecting may take.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// After a connection could not be opened while others are in use, or took nothing.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// By when a peer of HTTP/2 has said how many streams it takes.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<PoolInner>,
}

struct PoolInner {
    connector: Connector,
    address: Uri,
    state: Mutex<State>,
    tasks: TaskTracker,
}

/// A connection that has just been opened.
enum Opened {
    Http1(Http1Connection),
    Http2(http2::Opened),
}

/// A connection of HTTP/1.1. Dropped, it is closed at once, and what of a request has not been taken goes with it: a peer
/// that does not read would otherwise make it be kept for as long as it likes.
pub struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    _task: AbortOnDropHandle<()>,
}

impl Pool {
    pub fn new(connector: Connector, address: Uri) -> Self {
        let (state, tasks) = (Mutex::default(), TaskTracker::new());
        Self { shared: Arc::new(PoolInner { connector, address, state, tasks }) }
    }

    /// Room for one request. Errors: there is no connection, and none can be had; none had room in time; too many wait.
    pub async fn lease(&self, party: Party) -> Result<Lease, SendError> {
        let waiting = {
            let mut state = self.lock();
            if let Some(lease) = state.take(self, party) {
                let wanted = state.open_more();
                drop(state);
                self.open(wanted);
                return Ok(lease);
            }
            let (ticket, receiver) = state.queue.join(party).ok_or(SendError::Busy)?;
            Waiting { pool: self.clone(), ticket, receiver }
        };
        self.serve();
        timeout(WAIT_MAX, waiting).await.unwrap_or(Err(SendError::Busy))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn downgrade(&self) -> WeakPool {
        WeakPool(Arc::downgrade(&self.shared))
    }

    /// Gives what there is to those who wait, and opens what is missing.
    fn serve(&self) {
        let mut state = self.lock();
        let not_taken = state.serve(self);
        let wanted = state.open_more();
        drop(state);
        // Behind the lock: what is given back takes it again.
        drop(not_taken);
        self.open(wanted);
    }

    fn serve_if_any_wait(&self, state: MutexGuard<'_, State>) {
        let is_waited_for = !state.queue.is_empty();
        drop(state);
        if is_waited_for {
            self.serve();
        }
    }

    /// Opens so many connections, which are counted already.
    fn open(&self, connections: usize) {
        for _ in 0..connections {
            let (connector, address) = (self.shared.connector.clone(), self.shared.address.clone());
            let (pool, tasks) = (self.downgrade(), self.shared.tasks.clone());
            self.shared.tasks.spawn(async move {
                let opened = open(&connector, address, &pool, &tasks).await;
                if let Some(pool) = pool.upgrade() {
                    pool.is_open(opened);
                }
            });
        }
    }

    /// What came of opening a connection.
    fn is_open(&self, opened: Result<Opened, SendError>) {
        let mut state = self.lock();
        match opened {
            Ok(Opened::Http1(connection)) => state.add_http1(connection),
            Ok(Opened::Http2(opened)) => {
                let id = state.add_http2(opened.sender);
                self.watch_idle(&mut state);
                drop(state);
                opened.watch.begin(id);
                self.serve();
                self.look_later(SETTLED_AFTER, move |state| state.settle(id));
                return;
            }
            Err(error) => {
                state.connecting -= 1;
                if state.can_wait_on() {
                    self.pause(&mut state);
                } else {
                    for waiter in state.fail() {
                        // Whoever has left does not mind.
                        let _ = waiter.send(Err(error));
                    }
                }
            }
        }
        self.watch_idle(&mut state);
        drop(state);
        self.serve();
    }

    /// Opens no other connection for a while.
    fn pause(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_pausing, true) {
            self.look_later(CONNECT_PAUSE, |state| state.is_pausing = false);
        }
    }

    fn look_later(&self, wait: Duration, then: impl FnOnce(&mut State) + Send + 'static) {
        let pool = self.downgrade();
        self.shared.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(pool) = pool.upgrade() {
                then(&mut pool.lock());
                pool.serve();
            }
        });
    }

    /// A peer of HTTP/2 has said how many streams it takes.
    fn takes(&self, id: u64, streams: usize) {
        let mut state = self.lock();
        let useless = state.set_streams_max(id, streams);
        if useless.is_some() {
            self.pause(&mut state);
        }
        self.serve_if_any_wait(state);
        drop(useless);
    }

    /// No more streams are opened on this connection; those that are open go on.
    fn forget(&self, id: u64) {
        let mut state = self.lock();
        let forgotten = state.remove(id);
        self.serve_if_any_wait(state);
        drop(forgotten);
    }

    fn stream_ends(&self, id: u64, party: Party) {
        let mut state = self.lock();
        let useless = state.stream_ends(id, party);
        if useless.is_some() {
            self.pause(&mut state);
        }
        self.watch_idle(&mut state);
        self.serve_if_any_wait(state);
        drop(useless);
    }

    /// A connection of HTTP/1.1 is ready for another request.
    fn give_back(&self, connection: Http1Connection) {
        let mut state = self.lock();
        let too_many = state.keep(connection);
        self.watch_idle(&mut state);
        self.serve_if_any_wait(state);
        drop(too_many);
    }
}

/// For tasks of connections, which end with the pool.
#[derive(Clone)]
struct WeakPool(Weak<PoolInner>);

impl WeakPool {
    fn upgrade(&self) -> Option<Pool> {
        self.0.upgrade().map(|shared| Pool { shared })
    }
}

async fn open(connector: &Connector, address: Uri, pool: &WeakPool, tasks: &TaskTracker) -> Result<Opened, SendError> {
    let stream = connector.connect(address).await?;
    if stream.connected().is_negotiated_h2() {
        return http2::open(stream, pool.clone(), tasks).await.map(Opened::Http2);
    }
    let handshake = http1::Builder::new().max_buf_size(READ_BUFFER_MAX).handshake(stream).await;
    let (sender, connection) = handshake.map_err(|_| SendError::Connect)?;
    let task = tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "converse with an upstream");
        }
    });
    Ok(Opened::Http1(Http1Connection { sender, _task: AbortOnDropHandle::new(task) }))
}

/// A place in the queue, which is left with it.
struct Waiting {
    pool: Pool,
    ticket: u64,
    receiver: oneshot::Receiver<Result<Lease, SendError>>,
}

impl Future for Waiting {
    type Output = Result<Lease, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody takes a waiter off the queue without an answer.
        Pin::new(&mut self.receiver).poll(context).map(|answer| answer.unwrap_or(Err(SendError::Busy)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.lock().queue.leave(self.ticket);
    }
}

#[cfg(test)]
mod tests;

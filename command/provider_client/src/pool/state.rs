//! The state of a pool: its connections, their streams, and how requests share them. Nothing here waits.

use hyper::client::conn::http2;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::http1::Http1Connection;
use super::idle::{IdleConnection, IdleConnections};
use super::lease::{Lease, StreamLease};
use super::queue::Queue;
use super::{Owner, Pool};
use crate::shares::Shares;
use crate::{IDLE_CONNECTION_MAX, LOOK_FOR_CLOSED_EVERY, RequestBody, STREAMS_MAX, SendError};

/// The most HTTP/2 connections at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Streams of a connection whose peer has not announced its limit.
pub const STREAMS_UNANNOUNCED: usize = 1;
/// Streams of a connection over its life; then it takes no more, and closes after the open ones. h2 counts frames that a peer
/// should not have sent (empty ones, and those of cancelled streams) from a connection's first stream on.
pub const STREAMS_OF_A_CONNECTION_MAX: usize = 10_000;

#[derive(Default)]
pub struct State {
    pub idle: IdleConnections,
    multiplexed: Vec<Multiplexed>,
    shares: Shares,
    pub queue: Queue<Result<Lease, SendError>>,
    /// How many connections are being opened.
    pub connecting: usize,
    /// No connection is opened for now: one could not be opened, or takes no streams.
    pub is_pausing: bool,
    protocol: Protocol,
    /// How many streams a new connection is expected to take: as many as the last one that took any.
    streams_expected: Option<usize>,
    next_id: u64,
    pub is_reaped: bool,
}

/// The protocol of the last connection, which the next one is expected to use too.
#[derive(Clone, Copy, Default)]
enum Protocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

/// An HTTP/2 connection.
struct Multiplexed {
    id: u64,
    sender: http2::SendRequest<RequestBody>,
    /// Streams that are open now.
    open: usize,
    /// Streams that were ever opened.
    opened: usize,
    /// The peer's limit, at most ours; `None` until it is announced.
    streams_max: Option<usize>,
    /// Set while no stream is open.
    idle_since: Option<Instant>,
}

impl Multiplexed {
    fn streams_max(&self) -> usize {
        self.streams_max.unwrap_or(STREAMS_UNANNOUNCED)
    }

    fn has_room(&self) -> bool {
        self.open < self.streams_max() && !self.sender.is_closed()
    }
}

/// Connections that close when this is dropped. Drop it after the lock.
#[derive(Default)]
pub struct Closing {
    idle: Vec<IdleConnection>,
    multiplexed: Vec<Multiplexed>,
}

impl Closing {
    pub const fn count(&self) -> usize {
        self.idle.len() + self.multiplexed.len()
    }
}

impl State {
    /// Room for a new request; `None` if there is none, or others wait for it.
    pub fn take(&mut self, pool: &Pool, owner: Owner) -> Option<Lease> {
        if !self.queue.is_empty() {
            return None;
        }
        if !self.multiplexed.is_empty()
            && self.shares.remaining(owner, self.capacity()) > 0
            && let Some(stream) = self.open_stream(pool, owner)
        {
            return Some(Lease::Http2(stream));
        }
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        self.idle.take(here).map(|connection| Lease::Http1 { pool: pool.clone(), connection })
    }

    /// Gives free room to waiting requests. Drop the leases that nobody took after the lock.
    pub fn serve_queue(&mut self, pool: &Pool) -> Vec<Result<Lease, SendError>> {
        let mut not_taken = Vec::new();
        while !self.queue.is_empty()
            && let Some((waiter, lease)) = self.serve_one(pool)
        {
            not_taken.extend(waiter.send(Ok(lease)).err());
        }
        not_taken
    }

    fn serve_one(&mut self, pool: &Pool) -> Option<(oneshot::Sender<Result<Lease, SendError>>, Lease)> {
        // The runtime of the waiting request is not known.
        if let Some(connection) = self.idle.take(None) {
            return Some((self.queue.next()?, Lease::Http1 { pool: pool.clone(), connection }));
        }
        // First, because this costs less than finding the next of all owners.
        if !self.multiplexed.iter().any(Multiplexed::has_room) {
            return None;
        }
        let (capacity, shares) = (self.capacity(), &self.shares);
        let waiting = self.queue.owners().filter(|(owner, _)| shares.remaining(*owner, capacity) > 0);
        let (owner, _) = waiting.min_by_key(|(owner, ticket)| (shares.held(*owner), *ticket))?;
        let stream = self.open_stream(pool, owner)?;
        Some((self.queue.next_of(owner)?, Lease::Http2(stream)))
    }

    /// Opens a stream on the connection with the fewest streams.
    fn open_stream(&mut self, pool: &Pool, owner: Owner) -> Option<StreamLease> {
        let with_room = self.multiplexed.iter_mut().enumerate().filter(|(_, connection)| connection.has_room());
        let (index, connection) = with_room.min_by_key(|(_, connection)| connection.open)?;
        connection.open += 1;
        connection.opened += 1;
        connection.idle_since = None;
        let (id, sender) = (connection.id, connection.sender.clone());
        if connection.opened == STREAMS_OF_A_CONNECTION_MAX {
            // Its open streams keep it alive until the last of them has ended.
            self.multiplexed.swap_remove(index);
        }
        self.shares.add(owner);
        Some(StreamLease { pool: pool.clone(), connection: id, owner, sender })
    }

    /// The streams that open connections allow. Further connections do not count: they may be impossible to open.
    fn capacity(&self) -> usize {
        self.multiplexed.iter().map(Multiplexed::streams_max).sum()
    }

    /// How many connections to open now. They count as being opened from here on.
    pub fn begin_connecting(&mut self) -> usize {
        let missing = match self.protocol {
            // The first connection tells the protocol of the others.
            Protocol::Unknown => self.queue.len().min(1).saturating_sub(self.connecting),
            Protocol::Http1 => self.queue.len().saturating_sub(self.connecting),
            Protocol::Http2 => self.missing_http2(),
        };
        self.connecting += missing;
        missing
    }

    fn missing_http2(&self) -> usize {
        let room = CONNECTIONS_MAX.saturating_sub(self.multiplexed.len() + self.connecting);
        if room == 0 || self.is_pausing {
            return 0;
        }
        let expected = self.streams_expected.unwrap_or(STREAMS_MAX);
        let wanted = self.queue.len().div_ceil(expected).max(usize::from(self.is_filling_up()));
        // Connections without an announced limit may have room for all that wait.
        let coming = self.connecting + self.multiplexed.iter().filter(|one| one.streams_max.is_none()).count();
        wanted.saturating_sub(coming).min(room)
    }

    /// True if half of the streams are open: the next request should not have to wait for a handshake. A tenant that is alone
    /// waits from two thirds on.
    fn is_filling_up(&self) -> bool {
        let open: usize = self.multiplexed.iter().map(|connection| connection.open).sum();
        open > 0 && open * 2 >= self.capacity()
    }

    /// Returns the surplus to close.
    pub fn add_http1(&mut self, connection: Http1Connection) -> Closing {
        self.connecting -= 1;
        self.protocol = Protocol::Http1;
        self.keep_idle(connection)
    }

    /// Returns the id of the connection.
    pub fn add_http2(&mut self, sender: http2::SendRequest<RequestBody>) -> u64 {
        self.connecting -= 1;
        self.protocol = Protocol::Http2;
        let id = self.next_id;
        self.next_id += 1;
        let idle_since = Some(Instant::now());
        self.multiplexed.push(Multiplexed { id, sender, open: 0, opened: 0, streams_max: None, idle_since });
        id
    }

    /// Returns whether waiting requests can still get room after a connection could not be opened.
    pub fn may_get_room(&self) -> bool {
        match self.protocol {
            Protocol::Unknown | Protocol::Http1 => false,
            Protocol::Http2 => self.connecting > 0 || !self.multiplexed.is_empty(),
        }
    }

    /// Takes the requests off the queue for which no connection is being opened.
    pub fn take_waiters_without_connection(&mut self) -> Vec<oneshot::Sender<Result<Lease, SendError>>> {
        let surplus = self.queue.len().saturating_sub(self.connecting);
        (0..surplus).filter_map(|_| self.queue.next()).collect()
    }

    /// Sets a peer's limit. Returns the connection if it is to be closed.
    pub fn set_streams_max(&mut self, id: u64, streams: usize) -> Option<Closing> {
        let connection = self.multiplexed.iter_mut().find(|connection| connection.id == id)?;
        let streams = streams.min(STREAMS_MAX);
        connection.streams_max = Some(streams);
        if streams > 0 {
            self.streams_expected = Some(streams);
        }
        self.close_if_useless(id)
    }

    /// Removes a connection that takes no streams and has none open, because another connection may take some.
    fn close_if_useless(&mut self, id: u64) -> Option<Closing> {
        let is_useless = |one: &Multiplexed| one.id == id && one.open == 0 && one.streams_max == Some(0);
        let index = self.multiplexed.iter().position(is_useless)?;
        Some(Closing { multiplexed: vec![self.multiplexed.swap_remove(index)], idle: Vec::new() })
    }

    /// Assumes the default for a peer that has announced no limit in time.
    pub fn end_settings_wait(&mut self, id: u64) {
        let connection = self.multiplexed.iter().find(|connection| connection.id == id);
        if connection.is_some_and(|connection| connection.streams_max.is_none()) {
            // Nothing to close: the default is not zero.
            let _ = self.set_streams_max(id, STREAMS_UNANNOUNCED);
        }
    }

    pub fn retire(&mut self, id: u64) -> Closing {
        let retired =
            self.multiplexed.extract_if(.., |connection| connection.id == id || connection.sender.is_closed());
        Closing { multiplexed: retired.collect(), idle: Vec::new() }
    }

    /// Ends a stream. Returns the connection if it is to be closed.
    pub fn end_stream(&mut self, id: u64, owner: Owner) -> Option<Closing> {
        self.shares.subtract(owner);
        let connection = self.multiplexed.iter_mut().find(|connection| connection.id == id)?;
        connection.open -= 1;
        if connection.open == 0 {
            connection.idle_since = Some(Instant::now());
        }
        self.close_if_useless(id)
    }

    /// Keeps an HTTP/1.1 connection for another request. Returns the surplus to close.
    pub fn keep_idle(&mut self, connection: Http1Connection) -> Closing {
        Closing { idle: self.idle.keep(connection).into_iter().collect(), multiplexed: Vec::new() }
    }

    /// Takes out idle connections, the oldest first, as long as there are more than `keep`, and at most so many.
    pub fn take_idle(&mut self, keep: usize, count_max: usize) -> Closing {
        let idle = self.idle.len() + self.multiplexed.iter().filter(|one| one.idle_since.is_some()).count();
        let mut left = idle.saturating_sub(keep).min(count_max);
        let mut closing = Closing::default();
        while left > 0
            && let Some(oldest) = self.idle.take_oldest()
        {
            closing.idle.push(oldest);
            left -= 1;
        }
        closing.multiplexed = self.multiplexed.extract_if(.., |one| one.idle_since.is_some()).take(left).collect();
        closing
    }

    /// The connections that were idle for too long, and when to look again; `None` if nothing is idle.
    pub fn reap(&mut self, now: Instant) -> (Closing, Option<Instant>) {
        let is_old = |since: Instant| now.duration_since(since) >= IDLE_CONNECTION_MAX;
        let closing = Closing {
            idle: self.idle.take_old(is_old),
            multiplexed: self
                .multiplexed
                .extract_if(.., |one| one.sender.is_closed() || one.idle_since.is_some_and(is_old))
                .collect(),
        };
        let old_at = self.oldest_idle().map(|since| since + IDLE_CONNECTION_MAX);
        // HTTP/2 connections have tasks that see them close.
        let look_at = (!self.idle.is_empty()).then_some(now + LOOK_FOR_CLOSED_EVERY);
        (closing, old_at.map(|old_at| look_at.map_or(old_at, |look_at| look_at.min(old_at))))
    }

    /// The open streams of an owner.
    #[cfg(test)]
    pub fn streams_of(&self, owner: Owner) -> usize {
        self.shares.held(owner)
    }

    #[cfg(test)]
    pub fn streams_open(&self) -> usize {
        self.multiplexed.iter().map(|connection| connection.open).sum::<usize>().max(self.shares.total())
    }

    pub fn oldest_idle(&self) -> Option<Instant> {
        let multiplexed = self.multiplexed.iter().filter_map(|connection| connection.idle_since);
        multiplexed.chain(self.idle.oldest_since()).min()
    }
}

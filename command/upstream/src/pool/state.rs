//! What a pool knows of its connections, and how it shares them out. Nothing in here waits.

use std::collections::VecDeque;

use hyper::client::conn::http2;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lease::{Lease, Stream};
use super::queue::Queue;
use super::shares::Shares;
use super::{Http1Connection, Party, Pool};
use crate::{IDLE_CONNECTION_MAX, IDLE_CONNECTIONS_MAX, RequestBody, STREAMS_MAX, SendError};

/// Connections of HTTP/2 at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Streams of a connection whose peer has not said yet how many it takes.
pub const STREAMS_UNSETTLED: usize = 1;
/// Streams that a connection is used for, one after the other: then it ends those that are open. h2 counts what a peer
/// should not have sent (empty frames, frames of streams that were cancelled) from a connection's first stream on.
pub const STREAMS_OF_A_CONNECTION_MAX: usize = 10_000;

#[derive(Default)]
pub struct State {
    /// Connections of HTTP/1.1 that are ready for a request, the one that was used last at the end.
    idle: VecDeque<Idle>,
    multiplexed: Vec<Multiplexed>,
    shares: Shares,
    pub queue: Queue<Result<Lease, SendError>>,
    /// Connections that are being opened.
    pub connecting: usize,
    /// A connection could not be opened, or took nothing: no other is opened now, whoever waits.
    pub is_pausing: bool,
    speaks: Speaks,
    /// How many streams a connection takes that is not there yet: as many as the last one that took any.
    streams_expected: Option<usize>,
    ids: u64,
    pub is_reaped: bool,
}

/// What the last connection turned out to speak: the next will, too.
#[derive(Clone, Copy, Default)]
enum Speaks {
    #[default]
    Unknown,
    Http1,
    Http2,
}

struct Idle {
    connection: Http1Connection,
    since: Instant,
    /// It takes its first request before its task has said that it is ready.
    is_new: bool,
}

/// A connection of HTTP/2.
struct Multiplexed {
    id: u64,
    sender: http2::SendRequest<RequestBody>,
    open: usize,
    /// Ever.
    opened: usize,
    /// As the peer says, and no more than we want; `None` until it has said so.
    streams_max: Option<usize>,
    /// While no stream is open.
    idle_since: Option<Instant>,
}

impl Multiplexed {
    fn streams_max(&self) -> usize {
        self.streams_max.unwrap_or(STREAMS_UNSETTLED)
    }

    fn has_room(&self) -> bool {
        self.open < self.streams_max() && !self.sender.is_closed()
    }
}

/// What is closed when it is dropped, behind the lock.
#[derive(Default)]
pub struct Closing {
    _idle: Vec<Idle>,
    _multiplexed: Vec<Multiplexed>,
}

impl State {
    /// Room for a request that comes now; none where others wait.
    pub fn take(&mut self, pool: &Pool, party: Party) -> Option<Lease> {
        if !self.queue.is_empty() {
            return None;
        }
        if !self.multiplexed.is_empty()
            && self.shares.left(party, self.capacity()) > 0
            && let Some(stream) = self.open_stream(pool, party)
        {
            return Some(Lease::Http2(stream));
        }
        self.take_idle().map(|connection| Lease::Http1 { pool: pool.clone(), connection })
    }

    /// Gives what there is to those who wait. What nobody took is to be dropped without the lock.
    pub fn serve(&mut self, pool: &Pool) -> Vec<Result<Lease, SendError>> {
        let mut not_taken = Vec::new();
        while !self.queue.is_empty()
            && let Some((waiter, lease)) = self.serve_one(pool)
        {
            not_taken.extend(waiter.send(Ok(lease)).err());
        }
        not_taken
    }

    fn serve_one(&mut self, pool: &Pool) -> Option<(oneshot::Sender<Result<Lease, SendError>>, Lease)> {
        if let Some(connection) = self.take_idle() {
            return Some((self.queue.next()?, Lease::Http1 { pool: pool.clone(), connection }));
        }
        // Looked at first: it costs less than to ask who of all tenants comes next.
        if !self.multiplexed.iter().any(Multiplexed::has_room) {
            return None;
        }
        let (capacity, shares) = (self.capacity(), &self.shares);
        let waiting = self.queue.parties().filter(|(party, _)| shares.left(*party, capacity) > 0);
        let (party, _) = waiting.min_by_key(|(party, ticket)| (shares.held(*party), *ticket))?;
        let stream = self.open_stream(pool, party)?;
        Some((self.queue.next_of(party)?, Lease::Http2(stream)))
    }

    fn take_idle(&mut self) -> Option<Http1Connection> {
        while let Some(Idle { connection, since, is_new }) = self.idle.pop_back() {
            let is_open = if is_new { !connection.sender.is_closed() } else { connection.sender.is_ready() };
            if is_open && since.elapsed() < IDLE_CONNECTION_MAX {
                return Some(connection);
            }
        }
        None
    }

    /// On the connection that has the fewest.
    fn open_stream(&mut self, pool: &Pool, party: Party) -> Option<Stream> {
        let with_room = self.multiplexed.iter_mut().enumerate().filter(|(_, connection)| connection.has_room());
        let (place, connection) = with_room.min_by_key(|(_, connection)| connection.open)?;
        connection.open += 1;
        connection.opened += 1;
        connection.idle_since = None;
        let (id, sender) = (connection.id, connection.sender.clone());
        if connection.opened == STREAMS_OF_A_CONNECTION_MAX {
            // Its streams keep it open until the last of them has ended.
            self.multiplexed.swap_remove(place);
        }
        self.shares.add(party);
        Some(Stream::new(pool.clone(), id, party, sender))
    }

    /// Streams that could be open at most. Connections that could be opened do not count: that they can is not known.
    fn capacity(&self) -> usize {
        self.multiplexed.iter().map(Multiplexed::streams_max).sum()
    }

    /// How many connections are to be opened now. They count as being opened from here on.
    pub fn open_more(&mut self) -> usize {
        let wanted = match self.speaks {
            // One tells what the others will speak.
            Speaks::Unknown => self.queue.len().min(1).saturating_sub(self.connecting),
            Speaks::Http1 => self.queue.len().saturating_sub(self.connecting),
            Speaks::Http2 => self.more_multiplexed(),
        };
        self.connecting += wanted;
        wanted
    }

    fn more_multiplexed(&self) -> usize {
        let room = CONNECTIONS_MAX.saturating_sub(self.multiplexed.len() + self.connecting);
        if room == 0 || self.is_pausing {
            return 0;
        }
        let expected = self.streams_expected.unwrap_or(STREAMS_MAX);
        let wanted = self.queue.len().div_ceil(expected).max(usize::from(self.is_filling_up()));
        // Those that have not settled may have room for all who wait.
        let coming = self.connecting + self.multiplexed.iter().filter(|one| one.streams_max.is_none()).count();
        wanted.saturating_sub(coming).min(room)
    }

    /// Half are taken: whoever comes next should not have to wait for a handshake. A tenant alone waits from two thirds on.
    fn is_filling_up(&self) -> bool {
        let open: usize = self.multiplexed.iter().map(|connection| connection.open).sum();
        open > 0 && open * 2 >= self.capacity()
    }

    pub fn add_http1(&mut self, connection: Http1Connection) {
        self.connecting -= 1;
        self.speaks = Speaks::Http1;
        self.idle.push_back(Idle { connection, since: Instant::now(), is_new: true });
    }

    /// Its id.
    pub fn add_http2(&mut self, sender: http2::SendRequest<RequestBody>) -> u64 {
        self.connecting -= 1;
        self.speaks = Speaks::Http2;
        let id = self.ids;
        self.ids += 1;
        let idle_since = Some(Instant::now());
        self.multiplexed.push(Multiplexed { id, sender, open: 0, opened: 0, streams_max: None, idle_since });
        id
    }

    /// A connection could not be opened. Whether those who wait have others to wait for.
    pub fn can_wait_on(&self) -> bool {
        match self.speaks {
            Speaks::Unknown | Speaks::Http1 => false,
            Speaks::Http2 => self.connecting > 0 || !self.multiplexed.is_empty(),
        }
    }

    /// Those who have nothing to wait for any more.
    pub fn fail(&mut self) -> Vec<oneshot::Sender<Result<Lease, SendError>>> {
        let in_vain = self.queue.len().saturating_sub(self.connecting);
        (0..in_vain).filter_map(|_| self.queue.next()).collect()
    }

    /// What is to be closed then.
    pub fn set_streams_max(&mut self, id: u64, streams: usize) -> Option<Closing> {
        let connection = self.multiplexed.iter_mut().find(|connection| connection.id == id)?;
        let streams = streams.min(STREAMS_MAX);
        connection.streams_max = Some(streams);
        if streams > 0 {
            self.streams_expected = Some(streams);
        }
        self.close_if_useless(id)
    }

    /// A connection that takes nothing and has nothing open: another may take something.
    fn close_if_useless(&mut self, id: u64) -> Option<Closing> {
        let is_useless = |one: &Multiplexed| one.id == id && one.open == 0 && one.streams_max == Some(0);
        let place = self.multiplexed.iter().position(is_useless)?;
        Some(Closing { _multiplexed: vec![self.multiplexed.swap_remove(place)], _idle: Vec::new() })
    }

    /// A peer that has said nothing else by now takes as many as it was thought to.
    pub fn settle(&mut self, id: u64) {
        let connection = self.multiplexed.iter().find(|connection| connection.id == id);
        if connection.is_some_and(|connection| connection.streams_max.is_none()) {
            // As it takes some, there is nothing to close.
            let _ = self.set_streams_max(id, STREAMS_UNSETTLED);
        }
    }

    pub fn remove(&mut self, id: u64) -> Closing {
        let removed =
            self.multiplexed.extract_if(.., |connection| connection.id == id || connection.sender.is_closed());
        Closing { _multiplexed: removed.collect(), _idle: Vec::new() }
    }

    /// What is to be closed then.
    pub fn stream_ends(&mut self, id: u64, party: Party) -> Option<Closing> {
        self.shares.subtract(party);
        let connection = self.multiplexed.iter_mut().find(|connection| connection.id == id)?;
        connection.open -= 1;
        if connection.open == 0 {
            connection.idle_since = Some(Instant::now());
        }
        self.close_if_useless(id)
    }

    /// Keeps a connection of HTTP/1.1 for another request.
    pub fn keep(&mut self, connection: Http1Connection) -> Closing {
        self.idle.push_back(Idle { connection, since: Instant::now(), is_new: false });
        let too_many = self.idle.len().saturating_sub(IDLE_CONNECTIONS_MAX);
        Closing { _idle: self.idle.drain(..too_many).collect(), _multiplexed: Vec::new() }
    }

    /// What has been idle for too long, and when to look again; never where nothing is idle.
    pub fn reap(&mut self, now: Instant) -> (Closing, Option<Instant>) {
        let is_old = |since: Instant| now.duration_since(since) >= IDLE_CONNECTION_MAX;
        let old = self.idle.iter().take_while(|idle| is_old(idle.since)).count();
        let closing = Closing {
            _idle: self.idle.drain(..old).collect(),
            _multiplexed: self
                .multiplexed
                .extract_if(.., |one| one.sender.is_closed() || one.idle_since.is_some_and(is_old))
                .collect(),
        };
        (closing, self.oldest_idle().map(|since| since + IDLE_CONNECTION_MAX))
    }

    /// Of the streams that are open.
    #[cfg(test)]
    pub fn streams_of(&self, party: Party) -> usize {
        self.shares.held(party)
    }

    #[cfg(test)]
    pub fn streams_open(&self) -> usize {
        self.multiplexed.iter().map(|connection| connection.open).sum::<usize>().max(self.shares.all())
    }

    /// Those of HTTP/1.1 that are open.
    #[cfg(test)]
    pub fn idle_connections(&self) -> usize {
        self.idle.iter().filter(|idle| !idle.connection.sender.is_closed()).count()
    }

    pub fn oldest_idle(&self) -> Option<Instant> {
        let multiplexed = self.multiplexed.iter().filter_map(|connection| connection.idle_since);
        multiplexed.chain(self.idle.front().map(|idle| idle.since)).min()
    }
}

//! A client's connection, which sends one request after another and times the parts of each response.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testing::http1::Body;
use testing::upstream::prepared::answers::{CLOSING_EVENTS, DONE};
use testing::wire::Wire;

/// Bytes of the end of a body that are kept to check it.
const TAIL: usize = 64;
/// Bytes of the beginning of an error's body that are kept to show it.
const BEGINNING: usize = 300;

pub struct Connection {
    wire: Wire,
}

/// A response and its timing.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Bytes of the body.
    pub length: usize,
    /// Events of the stream so far.
    pub events: usize,
    /// From the first byte sent to the end of the first event; `None` without events.
    pub first: Option<Duration>,
    /// From the first byte sent to the last one received.
    pub total: Duration,
    /// The times between successive events; zero if two arrive in one piece.
    pub gaps: Vec<Duration>,
    sent: Instant,
    last_event: Instant,
    newlines: usize,
    beginning: Vec<u8>,
    tail: Vec<u8>,
}

/// The expected response.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// 200, and a body with this ending, apart from trailing white space.
    Whole { ending: &'static str },
    /// 200, this many tokens, their closing events and `[DONE]`.
    Stream { tokens: usize },
    /// This status, with any body.
    Status(u16),
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { wire: Wire::open(address).await? })
    }

    /// Sends a request and reads its response to the end.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Response> {
        self.send_until(request, |_| false).await
    }

    /// The same, but stops reading as soon as `is_enough` is true. The connection cannot be used after that.
    pub async fn send_until(&mut self, request: &[u8], is_enough: impl Fn(&Response) -> bool) -> io::Result<Response> {
        let sent = Instant::now();
        self.wire.write(request).await?;
        let head = loop {
            if let Some(head) = self.wire.take_head()? {
                break head;
            }
            self.wire.read().await?;
        };
        let (mut response, mut body) = (Response::new(head.status, sent), Body::new(head.framing));
        let mut received_at = Instant::now();
        loop {
            self.wire.take_body(&mut body, |bytes| response.take(bytes, received_at))?;
            if body.is_over() || is_enough(&response) {
                response.total = sent.elapsed();
                return Ok(response);
            }
            self.wire.read().await?;
            received_at = Instant::now();
        }
    }

    /// True while the peer keeps the connection open and has sent nothing unasked.
    pub fn is_open(&self) -> bool {
        self.wire.is_open()
    }
}

impl Response {
    const fn new(status: u16, sent: Instant) -> Self {
        Self {
            status,
            length: 0,
            events: 0,
            first: None,
            total: Duration::ZERO,
            gaps: Vec::new(),
            sent,
            last_event: sent,
            newlines: 0,
            beginning: Vec::new(),
            tail: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8], received_at: Instant) {
        self.length += bytes.len();
        if self.status != 200 {
            let room = BEGINNING.saturating_sub(self.beginning.len());
            self.beginning.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        self.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        // An event is a line and an empty line; a non-streaming body has no newline.
        self.newlines += memchr::memchr_iter(b'\n', bytes).count();
        self.count_events(received_at);
    }

    fn count_events(&mut self, received_at: Instant) {
        for _ in self.events..self.newlines / 2 {
            if self.first.is_none() {
                self.first = Some(received_at.saturating_duration_since(self.sent));
            } else {
                self.gaps.push(received_at.saturating_duration_since(self.last_event));
            }
            self.last_event = received_at;
            self.events += 1;
        }
    }

    /// The gaps between tokens. Those before the closing events are left out, because they wait for the settlement.
    pub fn token_gaps(&self) -> &[Duration] {
        self.gaps.get(..self.gaps.len().saturating_sub(CLOSING_EVENTS)).unwrap_or_default()
    }

    /// Compares it with the expected response. The error shows both.
    pub fn check(&self, expected: Expected) -> Result<(), String> {
        let is_expected = match expected {
            Expected::Whole { ending } => self.status == 200 && self.tail.trim_ascii_end().ends_with(ending.as_bytes()),
            Expected::Stream { tokens } => {
                self.status == 200 && self.tail.ends_with(DONE) && self.events == tokens + CLOSING_EVENTS
            }
            Expected::Status(status) => self.status == status,
        };
        if is_expected {
            return Ok(());
        }
        let text = if self.beginning.is_empty() { &self.tail } else { &self.beginning };
        let (status, events, text) = (self.status, self.events, String::from_utf8_lossy(text));
        Err(format!("expected {expected:?}, got {status} with {events} events: {text}"))
    }
}

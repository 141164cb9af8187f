//! A client's connection: one request after another, and when which part of an answer came.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testing::http1::Body;
use testing::upstream::prepared::answers::{CLOSING_EVENTS, DONE};
use testing::wire::Wire;

/// How much of an end is kept to be judged.
const TAIL: usize = 64;
/// What a refusal says is kept as far as this, to be shown.
const BEGINNING: usize = 300;

pub struct Connection {
    wire: Wire,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Bytes of the body.
    pub length: usize,
    /// Events of a stream so far.
    pub events: usize,
    /// From the first byte sent to the end of the first event; `None` where none came.
    pub first: Option<Duration>,
    /// From the first byte sent to the last received.
    pub total: Duration,
    /// Between events, each from the one before it; zero between two that came in one piece.
    pub gaps: Vec<Duration>,
    sent: Instant,
    /// When the last event came.
    last: Instant,
    newlines: usize,
    beginning: Vec<u8>,
    tail: Vec<u8>,
}

/// What an answer has to be.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// 200 and these bytes at its end, but for white space.
    Whole { ending: &'static str },
    /// 200, so many tokens, their closing events and `[DONE]`.
    Stream { tokens: usize },
    /// Any body with this status.
    Status(u16),
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { wire: Wire::open(address).await? })
    }

    /// Sends this, and reads its answer to the end.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.ask_until(request, |_| false).await
    }

    /// The same, but stops reading as soon as `enough` says so; the connection is then of no more use.
    pub async fn ask_until(&mut self, request: &[u8], enough: impl Fn(&Answer) -> bool) -> io::Result<Answer> {
        let sent = Instant::now();
        self.wire.write(request).await?;
        let head = loop {
            if let Some(head) = self.wire.take_head()? {
                break head;
            }
            self.wire.read().await?;
        };
        let (mut answer, mut body) = (Answer::new(head.status, sent), Body::new(head.framing));
        let mut at = Instant::now();
        loop {
            self.wire.take_body(&mut body, |bytes| answer.take(bytes, at))?;
            if body.is_over() || enough(&answer) {
                answer.total = sent.elapsed();
                return Ok(answer);
            }
            self.wire.read().await?;
            at = Instant::now();
        }
    }

    /// Whether the other side keeps it, and has said nothing that nobody asked for.
    pub fn is_open(&self) -> bool {
        self.wire.is_open()
    }
}

impl Answer {
    const fn new(status: u16, sent: Instant) -> Self {
        Self {
            status,
            length: 0,
            events: 0,
            first: None,
            total: Duration::ZERO,
            gaps: Vec::new(),
            sent,
            last: sent,
            newlines: 0,
            beginning: Vec::new(),
            tail: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8], at: Instant) {
        self.length += bytes.len();
        if self.status != 200 {
            let room = BEGINNING.saturating_sub(self.beginning.len());
            self.beginning.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        self.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        // Every event is one line and an empty one; a whole answer has no line end.
        self.newlines += memchr::memchr_iter(b'\n', bytes).count();
        self.count_events(at);
    }

    fn count_events(&mut self, at: Instant) {
        for _ in self.events..self.newlines / 2 {
            if self.first.is_none() {
                self.first = Some(at.saturating_duration_since(self.sent));
            } else {
                self.gaps.push(at.saturating_duration_since(self.last));
            }
            self.last = at;
            self.events += 1;
        }
    }

    /// Gaps between tokens: those in front of the closing events are left out, because they wait for the settlement.
    pub fn token_gaps(&self) -> &[Duration] {
        self.gaps.get(..self.gaps.len().saturating_sub(CLOSING_EVENTS)).unwrap_or_default()
    }

    /// What is wrong with it.
    pub fn judge(&self, wanted: Wanted) -> Result<(), String> {
        let is_right = match wanted {
            Wanted::Whole { ending } => self.status == 200 && self.tail.trim_ascii_end().ends_with(ending.as_bytes()),
            Wanted::Stream { tokens } => {
                self.status == 200 && self.tail.ends_with(DONE) && self.events == tokens + CLOSING_EVENTS
            }
            Wanted::Status(status) => self.status == status,
        };
        if is_right {
            return Ok(());
        }
        let text = if self.beginning.is_empty() { &self.tail } else { &self.beginning };
        let (status, events, text) = (self.status, self.events, String::from_utf8_lossy(text));
        Err(format!("wanted {wanted:?}, got {status} with {events} events: {text}"))
    }
}

//! A hostile connection. It reopens whenever it is cut off, and ends when its key is unknown.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use harness::connection::Connection as Client;
use harness::request;
use testing::request::head;
use testing::upstream::prepared::model;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::crowd::{CrowdStats, Kind, SharedStats, Stage};

/// The `content-length` of a slow body.
const BODY_BYTES: usize = 1 << 20;
/// The time between two bytes, of a body that is sent or of a response that is read.
const BYTE_INTERVAL: Duration = Duration::from_millis(500);
/// Tokens of a stream that is read slowly: more than fit into all buffers on the way.
const LONG_TOKENS: u64 = 50_000;
/// Tokens of a half-open stream, one per second: more than the siege lasts.
const LASTING_TOKENS: u64 = 10_000;
/// The time after which an unread half-open stream is closed and another one opened.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// The pause before a connection is reopened.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// Small, so that unread bytes stay in the gateway.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// The length of `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;
/// The length of the rest of an interim response: ` Continue` and an empty line.
const INTERIM_REST: usize = 13;
const UNKNOWN_KEY: u16 = 401;
const QUERIES: [&str; 6] = [
    "/v1/events?limit=1000",
    "/v1/events?limit=1000&types=inference.completed.v1,budget.settled.v1",
    "/v1/inferences?limit=1000",
    "/v1/usage?group_by=hour,user,key,model,backend&limit=10000",
    "/v1/usage?group_by=metadata.team,day",
    "/v1/audit?limit=1000&q=nowhere",
];

/// The requests as bytes, made once.
pub struct Requests {
    body_head: Vec<u8>,
    long_stream: Vec<u8>,
    lasting_stream: Vec<u8>,
    follow: Vec<u8>,
    queries: Vec<Vec<u8>>,
}

impl Requests {
    pub fn of(secret: &str) -> Self {
        Self {
            body_head: format!("{}content-length: {BODY_BYTES}\r\n\r\n", head("POST", "/v1/chat/completions", secret))
                .into(),
            long_stream: request::stream(model::TRACE, LONG_TOKENS, secret),
            lasting_stream: request::stream(model::DRIP, LASTING_TOKENS, secret),
            follow: format!("{}accept: text/event-stream\r\n\r\n", head("GET", "/v1/events", secret)).into(),
            queries: QUERIES.iter().map(|path| request::with_body("GET", path, secret, b"")).collect(),
        }
    }
}

pub struct Connection {
    kind: Kind,
    /// The number among the connections of its kind.
    number: usize,
    address: SocketAddr,
    requests: Arc<Requests>,
    stages: watch::Receiver<Stage>,
    stats: SharedStats,
}

impl Connection {
    pub fn new(
        kind: Kind,
        number: usize,
        address: SocketAddr,
        requests: Arc<Requests>,
        (stages, stats): (watch::Receiver<Stage>, SharedStats),
    ) -> Self {
        Self { kind, number, address, requests, stages, stats }
    }

    pub async fn run(self) {
        loop {
            let status = match self.kind {
                Kind::SlowBody => self.send_slowly().await,
                Kind::SlowReader => self.read_slowly().await,
                Kind::Queries => self.query().await,
                Kind::HalfOpen => self.leave_half_open().await,
            };
            match status {
                Ok(UNKNOWN_KEY) => return,
                Ok(_) => {}
                Err(_) => self.record(|stats| stats.cut_off += 1),
            }
            sleep(REOPEN_AFTER).await;
        }
    }

    fn record(&self, change: impl FnOnce(&mut CrowdStats)) {
        change(self.stats.lock().unwrap_or_else(PoisonError::into_inner).entry(self.kind).or_default());
    }

    /// Records a response to a request that was sent in the stage `sent_in`.
    fn record_response(&self, status: u16, sent_in: Stage) -> u16 {
        let now = *self.stages.borrow();
        self.record(|stats| {
            *stats.responses.entry(status).or_default() += 1;
            match now {
                Stage::KeyDeleted(at) if status == UNKNOWN_KEY => stats.refused_after.push(at.elapsed()),
                _ if status != UNKNOWN_KEY && matches!(sent_in, Stage::KeyDeleted(_)) => {
                    stats.admitted_after_deletion += 1;
                }
                Stage::Siege | Stage::KeyDeleted(_) | Stage::Over => {}
            }
        });
        status
    }

    /// Sends a request on a new connection. Returns the stage in which it was sent.
    async fn send(&self, request: &[u8]) -> io::Result<(TcpStream, Stage)> {
        self.record(|stats| stats.opened += 1);
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut stream = socket.connect(self.address).await?;
        let sent_in = *self.stages.borrow();
        stream.write_all(request).await?;
        Ok((stream, sent_in))
    }

    /// Sends a byte at a time, until a response arrives.
    async fn send_slowly(&self) -> io::Result<u16> {
        let (mut stream, sent_in) = self.send(&self.requests.body_head).await?;
        stream.write_all(b"{").await?;
        loop {
            match timeout(BYTE_INTERVAL, status(&mut stream)).await {
                Ok(status) => return status.map(|status| self.record_response(status, sent_in)),
                Err(_) => stream.write_all(b" ").await?,
            }
        }
    }

    /// Reads a byte at a time, until the stream ends.
    async fn read_slowly(&self) -> io::Result<u16> {
        let (mut stream, sent_in) = self.send(&self.requests.long_stream).await?;
        let status = self.record_response(status(&mut stream).await?, sent_in);
        if status != 200 {
            return Ok(status);
        }
        loop {
            sleep(BYTE_INTERVAL).await;
            stream.read_u8().await?;
        }
    }

    /// Sends one query after another on one connection, and reads each response to its end.
    async fn query(&self) -> io::Result<u16> {
        self.record(|stats| stats.opened += 1);
        let mut client = Client::open(self.address).await?;
        for query in self.requests.queries.iter().cycle().skip(self.number % QUERIES.len()) {
            let sent_in = *self.stages.borrow();
            if self.record_response(client.send(query).await?.status, sent_in) == UNKNOWN_KEY {
                return Ok(UNKNOWN_KEY);
            }
        }
        Ok(0)
    }

    /// Closes the sending side, and reads nothing.
    async fn leave_half_open(&self) -> io::Result<u16> {
        // Half of the connections follow the log.
        let follows = self.number.is_multiple_of(2);
        let request = if follows { &self.requests.follow } else { &self.requests.lasting_stream };
        let (mut stream, sent_in) = self.send(request).await?;
        stream.shutdown().await?;
        sleep(HALF_OPEN).await;
        Ok(self.record_response(status(&mut stream).await?, sent_in))
    }
}

/// The status of the final response: a client that stops sending may get an interim response first.
async fn status(stream: &mut TcpStream) -> io::Result<u16> {
    loop {
        let mut line = [0; STATUS_LINE];
        stream.read_exact(&mut line).await?;
        let code = line.get(STATUS_LINE - 3..).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        match code.ok_or(io::ErrorKind::InvalidData)? {
            100 => drop(stream.read_exact(&mut [0; INTERIM_REST]).await?),
            code => return Ok(code),
        }
    }
}

//! One hostile connection. It does its worst until its key is not known any more, and begins anew whenever it is cut off.

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

use crate::crowd::{Kind, Met, Stage, Tally};

/// What a slow body says that it will have.
const BODY_BYTES: usize = 1 << 20;
/// Between two bytes, of a body that is sent or of an answer that is read.
const BYTE_EVERY: Duration = Duration::from_millis(500);
/// Tokens of a stream that is read slowly: more than all buffers on its way hold.
const LONG_TOKENS: u64 = 50_000;
/// Tokens of a stream that is half open, one a second: more than come within the siege.
const LASTING_TOKENS: u64 = 10_000;
/// How long nothing is read of a stream that is half open, before it is given up and another one opened.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// Before a connection is opened again.
const REST: Duration = Duration::from_millis(100);
/// Little, so that what is not read stays with the gateway.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;
/// Behind the status of an interim answer: ` Continue` and an empty line.
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

/// What is sent, made once.
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
    /// Among those of its kind.
    number: usize,
    address: SocketAddr,
    requests: Arc<Requests>,
    stages: watch::Receiver<Stage>,
    tally: Tally,
}

impl Connection {
    pub fn new(
        kind: Kind,
        number: usize,
        address: SocketAddr,
        requests: Arc<Requests>,
        (stages, tally): (watch::Receiver<Stage>, Tally),
    ) -> Self {
        Self { kind, number, address, requests, stages, tally }
    }

    pub async fn go_on(self) {
        loop {
            let came = match self.kind {
                Kind::SlowBody => self.send_slowly().await,
                Kind::SlowReader => self.read_slowly().await,
                Kind::Queries => self.query().await,
                Kind::HalfOpen => self.leave_half_open().await,
            };
            match came {
                Ok(UNKNOWN_KEY) => return,
                Ok(_) => {}
                Err(_) => self.note(|met| met.cut_off += 1),
            }
            sleep(REST).await;
        }
    }

    fn note(&self, what: impl FnOnce(&mut Met)) {
        what(self.tally.lock().unwrap_or_else(PoisonError::into_inner).entry(self.kind).or_default());
    }

    /// `sent_at`: when its request was sent.
    fn answered(&self, status: u16, sent_at: Stage) -> u16 {
        let now = *self.stages.borrow();
        self.note(|met| {
            *met.answers.entry(status).or_default() += 1;
            match now {
                Stage::KeyEnded(at) if status == UNKNOWN_KEY => met.refused_after.push(at.elapsed()),
                _ if status != UNKNOWN_KEY && matches!(sent_at, Stage::KeyEnded(_)) => met.let_in += 1,
                Stage::Siege | Stage::KeyEnded(_) | Stage::Over => {}
            }
        });
        status
    }

    /// Sends this on a new connection. When it was sent is returned as well.
    async fn send(&self, request: &[u8]) -> io::Result<(TcpStream, Stage)> {
        self.note(|met| met.opened += 1);
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut stream = socket.connect(self.address).await?;
        let sent_at = *self.stages.borrow();
        stream.write_all(request).await?;
        Ok((stream, sent_at))
    }

    /// A byte at a time, until there is an answer.
    async fn send_slowly(&self) -> io::Result<u16> {
        let (mut stream, sent_at) = self.send(&self.requests.body_head).await?;
        stream.write_all(b"{").await?;
        loop {
            match timeout(BYTE_EVERY, status(&mut stream)).await {
                Ok(status) => return status.map(|status| self.answered(status, sent_at)),
                Err(_) => stream.write_all(b" ").await?,
            }
        }
    }

    /// A byte at a time, until the stream ends.
    async fn read_slowly(&self) -> io::Result<u16> {
        let (mut stream, sent_at) = self.send(&self.requests.long_stream).await?;
        let came = self.answered(status(&mut stream).await?, sent_at);
        if came != 200 {
            return Ok(came);
        }
        loop {
            sleep(BYTE_EVERY).await;
            stream.read_u8().await?;
        }
    }

    /// One after the other on a connection that is kept, each read to its end.
    async fn query(&self) -> io::Result<u16> {
        self.note(|met| met.opened += 1);
        let mut client = Client::open(self.address).await?;
        for query in self.requests.queries.iter().cycle().skip(self.number % QUERIES.len()) {
            let sent_at = *self.stages.borrow();
            if self.answered(client.ask(query).await?.status, sent_at) == UNKNOWN_KEY {
                return Ok(UNKNOWN_KEY);
            }
        }
        Ok(0)
    }

    /// Says that nothing more will come, and reads nothing.
    async fn leave_half_open(&self) -> io::Result<u16> {
        // Every second one of this kind follows the log.
        let follows = self.number.is_multiple_of(2);
        let request = if follows { &self.requests.follow } else { &self.requests.lasting_stream };
        let (mut stream, sent_at) = self.send(request).await?;
        stream.shutdown().await?;
        sleep(HALF_OPEN).await;
        Ok(self.answered(status(&mut stream).await?, sent_at))
    }
}

/// The status of the answer itself: a client that stops sending may be given an interim one before.
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

//! A cheap upstream: raw HTTP/1.1 on a thread of its own, with responses that were made beforehand. The request's model selects
//! the response, see [`model`].

pub mod answers;
pub mod model;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use memchr::memmem;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::answers::{Pieces, Usage};
use crate::http1::{Body, Received};

/// Time between the tokens of a paced stream.
pub const PACE: Duration = Duration::from_millis(20);
/// Time between the tokens of a dripping stream.
pub const DRIP: Duration = Duration::from_secs(1);
/// Time between two comments.
const COMMENT_INTERVAL: Duration = Duration::from_millis(100);
/// Tokens of a stream that is sent at once.
pub const BURST_TOKENS: u64 = 16;
/// A replayed stream is written in pieces of so many tokens, each so long after the other.
const TRACE_PIECE: u64 = 4;
const TRACE_PACE: Duration = Duration::from_millis(4);
/// The first bytes of a request, which have everything but the prompt.
const LOOKED_AT_MAX: usize = 1024;
const PROMPT_TOKENS: u64 = 12;
const BUFFER_BYTES: usize = 64 * 1024;

pub struct PreparedUpstream {
    pub address: SocketAddr,
}

impl PreparedUpstream {
    /// Serves until the process ends.
    pub fn start() -> Self {
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("its address")).expect("the caller waits");
                serve(listener).await;
            });
        });
        Self { address: is_ready.recv().expect("an upstream") }
    }
}

async fn serve(listener: TcpListener) {
    let script = Arc::new(Script::new());
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer_all(stream, Arc::clone(&script)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until the peer closes it, at whatever point.
async fn answer_all(mut stream: TcpStream, script: Arc<Script>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader =
        RequestReader { received: Received::with_room(BUFFER_BYTES), start: Vec::with_capacity(LOOKED_AT_MAX) };
    while reader.next(&mut stream).await? {
        script.answer(&mut stream, &reader.start).await?;
    }
    Ok(())
}

/// Requests of one connection, one after another.
struct RequestReader {
    received: Received,
    /// The first bytes of the current request.
    start: Vec<u8>,
}

impl RequestReader {
    /// Reads one whole request; false at the end of the connection.
    async fn next(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        let head = loop {
            if let Some(head) = self.received.take_head()? {
                break head;
            }
            if !self.received.read(stream).await? {
                return Ok(false);
            }
        };
        self.start.clear();
        let mut body = Body::new(head.framing);
        loop {
            let start = &mut self.start;
            self.received.take_body(&mut body, |bytes| {
                let room = LOOKED_AT_MAX.saturating_sub(start.len());
                start.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            })?;
            if body.is_over() {
                return Ok(true);
            }
            if !self.received.read(stream).await? {
                return Ok(false);
            }
        }
    }
}

/// The prepared responses.
struct Script {
    whole: Vec<u8>,
    burst: Vec<u8>,
    paced: Pieces,
    drip: Pieces,
    trace: Pieces,
}

impl Script {
    fn new() -> Self {
        let usage = Usage { prompt: PROMPT_TOKENS, cached: 0, completion: BURST_TOKENS };
        Self {
            whole: answers::whole(),
            burst: answers::burst(model::BURST, usage),
            paced: Pieces::of(model::PACED),
            drip: Pieces::of(model::DRIP),
            trace: Pieces::of(model::TRACE),
        }
    }

    async fn answer(&self, stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
        match model_of(request) {
            Some(name) if name == model::BURST => stream.write_all(&self.burst).await,
            Some(model::PACED) => pace(stream, request, (model::PACED, &self.paced), PACE).await,
            Some(model::DRIP) => pace(stream, request, (model::DRIP, &self.drip), DRIP).await,
            Some(name) if name == model::TRACE => self.replay(stream, request).await,
            // The peer has gone, or asks again.
            Some(model::HANG) => stream.peek(&mut [0]).await.map(drop),
            Some(model::COMMENTS) => comment(stream).await,
            _ => stream.write_all(&self.whole).await,
        }
    }

    /// Sends the first token at once, the others in pieces.
    async fn replay(&self, stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
        let number = |words: &str| number_after(request, words).unwrap_or(0);
        let usage = Usage { prompt: number("prompt "), cached: number(" cached "), completion: tokens(request) };
        stream.write_all(&[answers::STREAM_HEAD, &self.trace.first].concat()).await?;
        let (mut due, mut left) = (Instant::now(), usage.completion.saturating_sub(1));
        while left > 0 {
            let now = left.min(TRACE_PIECE);
            left -= now;
            due += TRACE_PACE;
            tokio::time::sleep_until(due).await;
            let now = usize::try_from(now).unwrap_or_default();
            stream.write_all(&self.trace.token.repeat(now)).await?;
        }
        stream.write_all(&answers::closing(model::TRACE, usage)).await
    }
}

async fn comment(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(answers::STREAM_HEAD).await?;
    loop {
        stream.write_all(answers::COMMENT).await?;
        tokio::time::sleep(COMMENT_INTERVAL).await;
    }
}

/// Sends the first token at once, each other one after a pause, and the end after another.
async fn pace(
    stream: &mut TcpStream,
    request: &[u8],
    (name, pieces): (&str, &Pieces),
    pace: Duration,
) -> io::Result<()> {
    let usage = Usage { prompt: PROMPT_TOKENS, cached: 0, completion: tokens(request) };
    stream.write_all(&[answers::STREAM_HEAD, &pieces.first].concat()).await?;
    let mut due = Instant::now();
    for _ in 1..usage.completion {
        due += pace;
        tokio::time::sleep_until(due).await;
        stream.write_all(&pieces.token).await?;
    }
    tokio::time::sleep_until(due + pace).await;
    stream.write_all(&answers::closing(name, usage)).await
}

fn model_of(request: &[u8]) -> Option<&str> {
    let rest = after(request, "\"model\":\"")?;
    std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()
}

fn tokens(request: &[u8]) -> u64 {
    number_after(request, "\"max_tokens\":").unwrap_or(1)
}

fn number_after(request: &[u8], words: &str) -> Option<u64> {
    let rest = after(request, words)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

fn after<'a>(request: &'a [u8], words: &str) -> Option<&'a [u8]> {
    request.get(memmem::find(request, words.as_bytes())? + words.len()..)
}

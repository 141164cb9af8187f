//! A client's connection, byte for byte: what is sent need not be HTTP, and what comes back is read as HTTP/1.1.
//!
//! Two kinds of callers use it. Tests ask for whole responses ([`Wire::response`]) and fail where one takes too long;
//! whoever closes the connection on them is no failure. Load generators take a response as it comes
//! ([`Wire::take_head`], [`Wire::take_body`], [`Wire::read`]), without a timer and without a copy. No client library
//! does either: they repair what a test breaks on purpose, and cost more than what is measured.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http1::{Body, Head, Received};

/// Longer than a test waits for the next piece of anything.
const PIECE_MAX: Duration = Duration::from_secs(15);
const BUFFER_BYTES: usize = 32 * 1024;

pub struct Wire {
    stream: TcpStream,
    received: Received,
}

/// One response, whole.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// Empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

impl Wire {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Received::with_room(BUFFER_BYTES) })
    }

    /// Whether the other side keeps the connection, and has said nothing that nobody asked for.
    pub fn is_open(&self) -> bool {
        self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The head of a response, as far as it came.
    pub fn take_head(&mut self) -> io::Result<Option<Head>> {
        self.received.take_head()
    }

    /// What came of a body.
    pub fn take_body(&mut self, body: &mut Body, take: impl FnMut(&[u8])) -> io::Result<()> {
        self.received.take_body(body, take)
    }

    /// Waits for more; the end of the connection is an error.
    pub async fn read(&mut self) -> io::Result<()> {
        if self.received.read(&mut self.stream).await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Whether it was taken: what was closed on the other side takes nothing any more, which is no failure here.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).await.is_ok()
    }

    /// Asks how the gateway is; whether it was answered.
    pub async fn asks(&mut self) -> bool {
        self.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        self.response().await.is_some_and(|response| response.status == 200)
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("one side is closed");
    }

    /// As a process that crashed with something left to read: the other side gets a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket option");
    }

    /// The next whole response that is not an interim one; `None` where the connection was closed instead.
    pub async fn response(&mut self) -> Option<Response> {
        loop {
            let (parsed, head) = self.head_with_text().await?;
            let mut response = Response { status: parsed.status, head, body: Vec::new() };
            assert_ne!(response.status, 0, "no status: {}", response.head);
            if response.status < 200 {
                continue;
            }
            let mut body = Body::new(parsed.framing);
            loop {
                let taken = self.received.take_body(&mut body, |bytes| response.body.extend_from_slice(bytes));
                taken.expect("a body that is framed");
                if body.is_over() {
                    return Some(response);
                }
                if !self.more().await {
                    return None;
                }
            }
        }
    }

    /// Status line and headers of the next response, interim ones included.
    pub async fn head(&mut self) -> Option<String> {
        self.head_with_text().await.map(|(_, text)| text)
    }

    /// Some bytes of a body that is being streamed.
    pub async fn some(&mut self) -> bool {
        let came = !self.received.bytes().is_empty() || self.more().await;
        self.received.clear();
        came
    }

    /// Whether the other side closes within this time, whatever it says before.
    pub async fn closes_within(&mut self, max: Duration) -> bool {
        let until_the_end = async { while self.some().await {} };
        timeout(max, until_the_end).await.is_ok()
    }

    async fn head_with_text(&mut self) -> Option<(Head, String)> {
        loop {
            if let Some(head) = self.received.take_head_with_text().expect("a head") {
                return Some(head);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Whether anything more came.
    async fn more(&mut self) -> bool {
        timeout(PIECE_MAX, self.read()).await.expect("something in time").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A wire to a server that says this and closes the connection.
    async fn told(text: &'static str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut wire = Wire::open(listener.local_addr().expect("its address")).await.expect("a connection");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(text.as_bytes()).await.expect("what is said");
        });
        server.join_all().await;
        assert!(wire.more().await, "all of it has come");
        wire
    }

    #[tokio::test]
    async fn responses_come_one_after_another_and_interim_ones_are_passed_over() {
        let mut wire = told(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
             HTTP/1.0 404 No\r\nContent-Length: 2\r\nx-why: nobody knows\r\n\r\nno",
        )
        .await;
        let first = wire.response().await.expect("a response");
        assert_eq!((first.status, first.body.as_slice()), (200, b"hello".as_slice()));
        let second = wire.response().await.expect("another");
        assert_eq!((second.status, second.header("X-Why"), second.body.as_slice()), (404, "nobody knows", &b"no"[..]));
        assert!(wire.response().await.is_none(), "it was closed");
    }

    #[tokio::test]
    async fn a_response_that_breaks_off_is_none_and_what_came_with_its_head_counts() {
        const BROKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        assert!(told(BROKEN).await.response().await.is_none());
        let mut wire = told(BROKEN).await;
        assert!(wire.head().await.expect("a head").ends_with("10\r\n\r\n"));
        assert!(wire.some().await, "half of the body");
        assert!(!wire.some().await, "it was closed");
    }
}

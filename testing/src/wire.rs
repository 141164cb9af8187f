//! A client's connection as bytes: what it sends need not be HTTP; what it receives is read as HTTP/1.1.
//!
//! Tests read whole responses ([`Wire::response`]) and fail if one takes too long; a closed connection is not a failure. Load
//! generators read a response as it arrives ([`Wire::take_head`], [`Wire::take_body`], [`Wire::read`]), without timers and
//! copies. Client libraries do not fit: they repair what a test breaks on purpose, and cost more than what is measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::http1::{Body, Head, Received};

/// Time limit for the next bytes of a response.
const PIECE_MAX: Duration = Duration::from_secs(15);
const BUFFER_BYTES: usize = 32 * 1024;

pub struct Wire {
    stream: TcpStream,
    received: Received,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

impl Wire {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// A wire that comes from another address of this machine.
    pub async fn open_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        Self::over(socket.connect(address).await?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Received::with_room(BUFFER_BYTES) })
    }

    /// True while the peer keeps the connection open and has sent nothing unasked.
    pub fn is_open(&self) -> bool {
        self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The head of a response, if it has arrived.
    pub fn take_head(&mut self) -> io::Result<Option<Head>> {
        self.received.take_head()
    }

    /// Passes on what has arrived of a body.
    pub fn take_body(&mut self, body: &mut Body, take: impl FnMut(&[u8])) -> io::Result<()> {
        self.received.take_body(body, take)
    }

    /// Waits for more bytes; the end of the connection is an error.
    pub async fn read(&mut self) -> io::Result<()> {
        if self.received.read(&mut self.stream).await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Sends bytes; false if the peer has closed the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).await.is_ok()
    }

    /// Sends a health check; true if it is answered with 200.
    pub async fn is_served(&mut self) -> bool {
        self.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        self.response().await.is_some_and(|response| response.status == 200)
    }

    /// Closes the sending side; reading goes on.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("one side is closed");
    }

    /// Closes with a reset, like a process that crashed with unread data.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket option");
    }

    /// The next whole response, interim ones skipped; `None` if the connection was closed instead.
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

    /// Reads and drops some bytes of a stream; false at the end of the connection.
    pub async fn read_some(&mut self) -> bool {
        let has_bytes = !self.received.bytes().is_empty() || self.more().await;
        self.received.clear();
        has_bytes
    }

    /// True if the peer closes within this time, whatever it sends before.
    pub async fn closes_within(&mut self, max: Duration) -> bool {
        let until_the_end = async { while self.read_some().await {} };
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

    /// Waits for more bytes; false at the end of the connection.
    async fn more(&mut self) -> bool {
        timeout(PIECE_MAX, self.read()).await.expect("something in time").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A wire to a server that sends this and closes the connection.
    async fn wire_receiving(text: &'static str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut wire = Wire::open(listener.local_addr().expect("its address")).await.expect("a connection");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(text.as_bytes()).await.expect("all bytes are sent");
        });
        server.join_all().await;
        assert!(wire.more().await, "all of it has come");
        wire
    }

    #[tokio::test]
    async fn responses_come_one_after_another_and_interim_ones_are_passed_over() {
        let mut wire = wire_receiving(
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
        assert!(wire_receiving(BROKEN).await.response().await.is_none());
        let mut wire = wire_receiving(BROKEN).await;
        assert!(wire.head().await.expect("a head").ends_with("10\r\n\r\n"));
        assert!(wire.read_some().await, "half of the body");
        assert!(!wire.read_some().await, "it was closed");
    }
}

//! A connection of bytes, and the answers that come back on it.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::tenant::Tenant;

/// Longer than any answer of these tests takes.
const ANSWER_MAX: Duration = Duration::from_secs(15);

pub struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

/// One answer of HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

impl Wire {
    pub async fn open(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
        Self { stream, read: BytesMut::new() }
    }

    /// What was closed on the other side takes nothing any more, which is no failure here.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Asks how the gateway is; whether it was answered.
    pub async fn asks(&mut self) -> bool {
        self.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        self.answer().await.is_some_and(|answer| answer.status == 200)
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("one side is closed");
    }

    /// As a process that crashed with something left to read: the other side gets a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket option");
    }

    /// The next whole answer that is not an interim one; `None` where the connection was closed instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            let head = self.head().await?;
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let mut answer = Answer { status, head, body: Vec::new() };
            if status < 200 {
                continue;
            }
            answer.body = match answer.header("content-length").parse::<usize>() {
                Ok(length) => self.take(length).await?,
                Err(_) if answer.header("transfer-encoding") == "chunked" => self.chunks().await?,
                Err(_) => Vec::new(),
            };
            return Some(answer);
        }
    }

    /// Whether the other side closes within this time, whatever it says before.
    pub async fn closes_within(&mut self, max: Duration) -> bool {
        let until_the_end = async { while self.more().await {} };
        timeout(max, until_the_end).await.is_ok()
    }

    /// Status line and headers.
    pub async fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        Some(String::from_utf8_lossy(&self.read.split_to(end)).into_owned())
    }

    /// Some bytes of a body that is being streamed.
    pub async fn some(&mut self) -> bool {
        self.read.clear();
        self.more().await
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read.split_to(length).to_vec())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                    break end;
                }
                if !self.more().await {
                    return None;
                }
            };
            let size = usize::from_str_radix(&String::from_utf8_lossy(&self.read[..end]), 16).expect("a chunk's size");
            self.read.advance(end + 2);
            whole.extend(self.take(size).await?);
            self.take(2).await?;
            if size == 0 {
                return Some(whole);
            }
        }
    }

    /// Whether anything more came.
    async fn more(&mut self) -> bool {
        let read = timeout(ANSWER_MAX, self.stream.read_buf(&mut self.read)).await;
        read.expect("something in time").is_ok_and(|length| length > 0)
    }
}

/// A request of this tenant as bytes, with more headers, each ended by `\r\n`.
pub fn post(tenant: &Tenant, path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!("{}content-length: {length}\r\n{more}\r\n{body}", post_head(tenant, path))
}

/// The same up to what says how long its body is.
pub fn post_head(tenant: &Tenant, path: &str) -> String {
    let secret = &tenant.secret;
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\ncontent-type: application/json\r\n"
    )
}

//! A peer of HTTP/2 over TLS that sends exactly the frames that a test chooses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::server::acceptor;

const PREFACE_BYTES: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 103`.
const OK: &[u8] = &[0x88];
const EARLY_HINTS: &[u8] = b"\x08\x03103";

pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A setting that a peer can announce.
#[derive(Clone, Copy)]
pub enum Setting {
    StreamsMax(u32),
    StreamWindow(u32),
}

pub struct Listener {
    listener: TcpListener,
    pub base_url: String,
}

pub struct Peer {
    stream: TlsStream<TcpStream>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    kind: u8,
    flags: u8,
    pub stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The reason for a reset of a stream.
    pub fn reset(&self) -> Option<u32> {
        (self.kind == RST_STREAM).then(|| u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes")))
    }
}

impl Listener {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("https://{}", listener.local_addr().expect("its address"));
        Self { listener, base_url }
    }

    /// Accepts a connection and announces the settings.
    pub async fn accept(&self, settings: &[Setting]) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut stream = acceptor(b"h2").accept(stream).await.expect("TLS");
        stream.read_exact(&mut [0; PREFACE_BYTES]).await.expect("the preface");
        let mut peer = Peer { stream };
        peer.set(settings).await;
        peer
    }
}

impl Peer {
    /// The next frame; `None` if the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        if kind == SETTINGS && flags & ACK == 0 {
            self.send(SETTINGS, ACK, 0, &[]).await;
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The stream of the next complete request.
    pub async fn request(&mut self) -> Option<u32> {
        self.until(|frame| matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0).await
    }

    /// The stream of the next request, of which only the head may have arrived.
    pub async fn head(&mut self) -> Option<u32> {
        self.until(|frame| frame.kind == HEADERS).await
    }

    /// Waits until the other side has processed all that was sent to it.
    pub async fn settle(&mut self) {
        self.send(PING, 0, 0, &[7; 8]).await;
        self.until(|frame| frame.kind == PING && frame.flags & ACK != 0).await.expect("an answer");
    }

    async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Option<u32> {
        loop {
            let frame = self.next().await?;
            if is_it(&frame) {
                return Some(frame.stream);
            }
        }
    }

    pub async fn set(&mut self, settings: &[Setting]) {
        let mut payload = Vec::new();
        for setting in settings {
            let (id, value) = match setting {
                Setting::StreamsMax(streams) => (3_u16, streams),
                Setting::StreamWindow(bytes) => (4, bytes),
            };
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    pub async fn hint(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, EARLY_HINTS).await;
    }

    pub async fn begin_answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, OK).await;
    }

    pub async fn answer(&mut self, stream: u32) {
        self.begin_answer(stream).await;
        self.send(DATA, END_STREAM, stream, b"ok").await;
    }

    pub async fn drip(&mut self, stream: u32) {
        self.send(DATA, 0, stream, b"data: drop").await;
    }

    pub async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Announces that streams above `last` were not processed.
    pub async fn go_away(&mut self, last: u32, reason: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat()).await;
    }

    pub async fn close(mut self) {
        // The client may have closed the connection.
        let _ = self.stream.shutdown().await;
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, a, b, c] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // The client may have closed the connection.
        let _ = self.stream.write_all(&frame).await;
        let _ = self.stream.flush().await;
    }
}

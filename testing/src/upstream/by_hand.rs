//! An upstream that the test drives, which decides every byte that is sent and read.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::http1::{Framing, Head};

const CALLED_MAX: Duration = Duration::from_secs(20);

pub struct UpstreamByHand {
    listener: TcpListener,
}

/// A call whose head has been read.
pub struct Call {
    stream: TcpStream,
    body_bytes: usize,
}

impl UpstreamByHand {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.listener.local_addr().expect("its address"))
    }

    pub async fn called(&self) -> Call {
        let called = async {
            let (stream, _) = self.listener.accept().await.expect("a connection");
            Call::on(stream).await
        };
        timeout(CALLED_MAX, called).await.expect("a call in time")
    }
}

impl Call {
    /// Reads byte by byte, so that nothing of the body is consumed.
    async fn on(mut stream: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        match Head::parse(&head).expect("a head").map(|head| head.framing) {
            Some(Framing::Counted(body_bytes)) => Self { stream, body_bytes },
            framing => panic!("a body without a length: {framing:?}"),
        }
    }

    pub async fn takes_the_body(&mut self) {
        let mut piece = vec![0; 64 * 1024];
        while self.body_bytes > 0 {
            let most = self.body_bytes.min(piece.len());
            let read = timeout(CALLED_MAX, self.stream.read(&mut piece[..most])).await.expect("some of it in time");
            let read = read.expect("the body");
            assert!(read > 0, "{} bytes of the body are missing", self.body_bytes);
            self.body_bytes -= read;
        }
    }

    /// Sends the head of a response of so many bytes.
    pub async fn begins_to_answer(&mut self, bytes: usize) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n");
        assert!(self.says(head).await, "the gateway has closed the connection");
    }

    /// Sends the head of a stream, which ends with the connection.
    pub async fn begins_to_stream(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        assert!(self.says(head).await, "the gateway has closed the connection");
    }

    /// Sends bytes; false if the gateway has closed the connection.
    pub async fn says(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }
}

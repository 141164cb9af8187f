//! A blocking connection: one request, and its whole response.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http1::{Body, Received};

const BUFFER_BYTES: usize = 32 * 1024;

pub struct BlockingWire {
    stream: TcpStream,
    received: Received,
}

impl BlockingWire {
    /// `piece_max` is the time limit for the next piece of a response.
    pub fn open(address: SocketAddr, piece_max: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(piece_max))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Received::with_room(BUFFER_BYTES) })
    }

    /// Sends a request; returns the status and body of its response.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request)?;
        let head = loop {
            if let Some(head) = self.received.take_head()? {
                break head;
            }
            self.read()?;
        };
        let (mut body, mut payload) = (Body::new(head.framing), Vec::new());
        loop {
            self.received.take_body(&mut body, |bytes| payload.extend_from_slice(bytes))?;
            if body.is_over() {
                return Ok((head.status, payload));
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let has_bytes = self.received.read_blocking(&mut self.stream)?;
        if has_bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

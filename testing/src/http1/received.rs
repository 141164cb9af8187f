//! Bytes that have arrived on a connection and are not consumed yet.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Body, Head};

/// A buffer of fixed size, larger than any head; one per connection.
pub struct Received {
    buffer: Vec<u8>,
    filled: usize,
}

impl Received {
    pub fn with_room(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], filled: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// The next head; `None` if its end has not arrived.
    pub fn take_head(&mut self) -> io::Result<Option<Head>> {
        self.take_head_with(|_| ()).map(|taken| taken.map(|(head, ())| head))
    }

    /// The next head and its text.
    pub fn take_head_with_text(&mut self) -> io::Result<Option<(Head, String)>> {
        self.take_head_with(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn take_head_with<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> io::Result<Option<(Head, T)>> {
        let Some(head) = Head::parse(self.bytes())? else { return Ok(None) };
        let seen = look(self.bytes().get(..head.length).unwrap_or_default());
        self.drop_front(head.length);
        Ok(Some((head, seen)))
    }

    /// Passes on as much of the body as has arrived.
    pub fn take_body(&mut self, body: &mut Body, take: impl FnMut(&[u8])) -> io::Result<()> {
        let used = body.feed(self.bytes(), take)?;
        self.drop_front(used);
        Ok(())
    }

    pub const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Reads more; false at the end of the connection.
    pub async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        let read = stream.read(self.buffer.get_mut(self.filled..).unwrap_or_default()).await?;
        self.filled += read;
        Ok(read > 0)
    }

    /// Reads more, blocking; false at the end of the connection.
    pub fn read_blocking(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let read = stream.read(self.buffer.get_mut(self.filled..).unwrap_or_default())?;
        self.filled += read;
        Ok(read > 0)
    }

    fn drop_front(&mut self, length: usize) {
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
    }
}

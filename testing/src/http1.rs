//! HTTP/1.1 as far as tests and benches need it: where a head ends, and which bytes after it are the body.

mod received;

use std::io;

use memchr::memmem;

pub use received::Received;

/// The largest head.
const HEAD_MAX: usize = 16 * 1024;

/// The parts of a head that are needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// In bytes, with the empty line.
    pub length: usize,
    /// 0 for a request.
    pub status: u16,
    pub framing: Framing,
    pub closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Counted(usize),
    Chunked,
}

impl Head {
    /// Parses a head; `None` if its end has not arrived.
    pub fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > HEAD_MAX { Err(malformed("a head that does not end")) } else { Ok(None) };
        };
        let head = bytes.get(..end).unwrap_or_default();
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let status = lines.next().map_or(0, status_of);
        let (mut framing, mut closes) = (Framing::Counted(0), false);
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                framing = Framing::Counted(number(value, 10).ok_or_else(|| malformed("a length that is no number"))?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                framing = Framing::Chunked;
            } else if name.eq_ignore_ascii_case(b"connection") {
                closes = value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(Some(Self { length: end + 4, status, framing, closes }))
    }
}

fn status_of(line: &[u8]) -> u16 {
    let code = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    code.and_then(|code| number(code, 10)).and_then(|code| u16::try_from(code).ok()).unwrap_or(0)
}

fn number(text: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The state of reading a body.
#[derive(Debug)]
pub struct Body {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Counted(usize),
    /// The line before a chunk.
    Size,
    Chunk(usize),
    /// The line end after a chunk.
    ChunkEnd,
    /// The lines after the last chunk.
    Trailer,
    Over,
}

impl Body {
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Counted(0) => State::Over,
            Framing::Counted(length) => State::Counted(length),
            Framing::Chunked => State::Size,
        };
        Self { state }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Consumes bytes and returns how many: a line that has not arrived completely is left.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            used += match self.state {
                State::Over => return Ok(used),
                State::Counted(left) | State::Chunk(left) if !rest.is_empty() => {
                    let now = rest.get(..left).unwrap_or(rest);
                    take(now);
                    self.state = self.state.after(now.len());
                    now.len()
                }
                State::Size | State::ChunkEnd | State::Trailer => match memchr::memchr(b'\n', rest) {
                    Some(end) => {
                        self.line(rest.get(..end).unwrap_or_default().trim_ascii())?;
                        end + 1
                    }
                    None => return Ok(used),
                },
                State::Counted(_) | State::Chunk(_) => return Ok(used),
            };
        }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.state = match self.state {
            State::Size => match number(line, 16).ok_or_else(|| malformed("a chunk without a size"))? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::Size,
            State::Trailer if line.is_empty() => State::Over,
            State::Trailer => State::Trailer,
            State::ChunkEnd | State::Counted(_) | State::Chunk(_) | State::Over => {
                return Err(malformed("a chunk that is longer than its size"));
            }
        };
        Ok(())
    }
}

impl State {
    fn after(self, taken: usize) -> Self {
        match self {
            Self::Counted(left) if left > taken => Self::Counted(left - taken),
            Self::Counted(_) => Self::Over,
            Self::Chunk(left) if left > taken => Self::Chunk(left - taken),
            Self::Chunk(_) => Self::ChunkEnd,
            Self::Size | Self::ChunkEnd | Self::Trailer | Self::Over => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload of `bytes` that arrive in pieces of this size.
    fn read_in_pieces(framing: Framing, bytes: &[u8], piece: usize) -> Option<Vec<u8>> {
        let (mut body, mut waiting, mut payload) = (Body::new(framing), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            waiting.extend_from_slice(piece);
            let used = body.feed(&waiting, |bytes| payload.extend_from_slice(bytes)).ok()?;
            waiting.drain(..used);
        }
        (body.is_over() && waiting.is_empty()).then_some(payload)
    }

    #[test]
    fn a_body_is_the_same_in_whatever_pieces_it_comes() {
        let chunked = b"5\r\nhello\r\n10\r\n, sixteen bytes \r\n0\r\nt: v\r\n\r\n";
        for piece in 1..chunked.len() {
            let read = read_in_pieces(Framing::Chunked, chunked, piece);
            assert_eq!(read.as_deref(), Some(b"hello, sixteen bytes ".as_slice()), "pieces of {piece}");
            assert_eq!(read_in_pieces(Framing::Counted(5), b"hello", piece).as_deref(), Some(b"hello".as_slice()));
        }
    }

    #[test]
    fn a_body_that_breaks_off_or_is_no_body_is_not_over() {
        assert_eq!(read_in_pieces(Framing::Chunked, b"5\r\nhello\r\n", 3), None);
        assert_eq!(read_in_pieces(Framing::Chunked, b"5\r\nhello!\r\n0\r\n\r\n", 3), None);
        assert_eq!(read_in_pieces(Framing::Counted(6), b"hello", 3), None);
    }

    #[test]
    fn a_head_says_how_its_body_comes() {
        let head = |text: &str| Head::parse(text.as_bytes()).expect("a head");
        let whole = head("HTTP/1.1 429 No\r\nContent-Length: 12\r\nconnection: close\r\n\r\n{");
        assert_eq!(whole, Some(Head { length: 58, status: 429, framing: Framing::Counted(12), closes: true }));
        let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.map(|head| (head.status, head.framing)), Some((200, Framing::Chunked)));
        assert_eq!(head("HTTP/1.1 200 OK\r\ncontent-length: 1"), None);
    }
}

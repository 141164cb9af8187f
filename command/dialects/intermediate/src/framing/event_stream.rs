//! A parser of `application/vnd.amazon.eventstream`: binary frames with headers, a payload and two checksums.
//!
//! A frame is, in big-endian order: `u32` length of the whole frame, `u32` length of the headers, `u32` CRC-32 of those
//! eight bytes, headers, payload, `u32` CRC-32 of everything before. A header is: `u8` length of the name, name, `u8`
//! type, value. The checksum of the lengths is checked before anything is kept, so that no one waits for a frame that
//! is too long or that is none.

use super::{EVENT_BYTES_MAX, Event};
use crate::{UpstreamFault, work};

/// Buffer capacity kept for the next frame. Most frames are far shorter.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// The two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// Type of a header whose value is text. Others are skipped.
const STRING: u8 = 7;

/// Divides a stream into frames. Buffers at most [`EVENT_BYTES_MAX`] bytes.
#[derive(Default)]
pub struct EventStreamParser {
    /// An incomplete frame.
    frame: Vec<u8>,
    answer_bytes: usize,
}

impl EventStreamParser {
    /// Reads the next bytes, and calls `each` for every frame that ends in them.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        work::steps(bytes.len());
        while !bytes.is_empty() {
            if self.frame.is_empty()
                && let Some(lengths) = Lengths::of(bytes)?
                && let Some((frame, rest)) = bytes.split_at_checked(lengths.frame)
            {
                self.answer_bytes += lengths.answer_bytes(frame.len());
                take(frame, &mut each)?;
                bytes = rest;
                continue;
            }
            let rest = self.keep(bytes)?;
            let kept = bytes.len() - rest.len();
            bytes = rest;
            let Some(lengths) = Lengths::of(&self.frame)? else { continue };
            self.answer_bytes += lengths.answer_bytes(kept);
            if lengths.frame == self.frame.len() {
                take(&self.frame, &mut each)?;
                self.frame.clear();
                self.frame.shrink_to(KEPT_BYTES_MAX);
            }
        }
        Ok(())
    }

    /// Handles the end of the stream. Errors: it ends within a frame.
    pub const fn finish(&self) -> Result<(), UpstreamFault> {
        if self.frame.is_empty() { Ok(()) } else { Err(UpstreamFault::Truncated) }
    }

    /// Bytes received of frames that have a payload.
    pub const fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Bytes received of an incomplete frame.
    pub const fn buffered_bytes(&self) -> usize {
        self.frame.len()
    }

    pub fn held_bytes(&self) -> usize {
        self.frame.capacity()
    }

    /// Keeps bytes up to the end of the frame, or of its prelude; returns the rest.
    fn keep<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], UpstreamFault> {
        let end = Lengths::of(&self.frame)?.map_or(PRELUDE_BYTES, |of| of.frame);
        let missing = end.saturating_sub(self.frame.len());
        let (piece, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        work::steps(piece.len());
        self.frame.extend_from_slice(piece);
        Ok(rest)
    }
}

/// The lengths that a frame begins with.
struct Lengths {
    frame: usize,
    headers: usize,
}

impl Lengths {
    /// `None` if there are too few bytes yet. Errors: a wrong checksum, lengths that contradict each other, a frame that
    /// is too long.
    fn of(bytes: &[u8]) -> Result<Option<Self>, UpstreamFault> {
        let Some((prelude, _)) = bytes.split_at_checked(PRELUDE_BYTES) else { return Ok(None) };
        let (lengths, checksum) = prelude.split_at(PRELUDE_BYTES - CHECKSUM_BYTES);
        if big_endian(checksum) != Some(crc32fast::hash(lengths)) {
            return Err(UpstreamFault::Malformed("a frame's lengths do not have their checksum"));
        }
        let (frame, headers) = lengths.split_at(4);
        let length = |bytes| big_endian(bytes).and_then(|length| usize::try_from(length).ok());
        let of = Self { frame: length(frame).unwrap_or(usize::MAX), headers: length(headers).unwrap_or(usize::MAX) };
        if of.frame > EVENT_BYTES_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        match of.headers.checked_add(PRELUDE_BYTES + CHECKSUM_BYTES).is_some_and(|least| of.frame >= least) {
            true => Ok(Some(of)),
            false => Err(UpstreamFault::Malformed("a frame is shorter than its headers")),
        }
    }

    /// `bytes` of the frame, if it has a payload; otherwise none.
    const fn answer_bytes(&self, bytes: usize) -> usize {
        if self.frame > self.headers + PRELUDE_BYTES + CHECKSUM_BYTES { bytes } else { 0 }
    }
}

fn big_endian(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Reads a whole frame.
fn take(frame: &[u8], each: &mut impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
    const MALFORMED: UpstreamFault = UpstreamFault::Malformed("not a frame");
    work::steps(frame.len());
    let lengths = Lengths::of(frame)?.ok_or(MALFORMED)?;
    let (message, checksum) = frame.split_last_chunk::<CHECKSUM_BYTES>().ok_or(MALFORMED)?;
    if u32::from_be_bytes(*checksum) != crc32fast::hash(message) {
        return Err(UpstreamFault::Malformed("a frame does not have its checksum"));
    }
    let (_, message) = message.split_at_checked(PRELUDE_BYTES).ok_or(MALFORMED)?;
    let (headers, payload) = message.split_at_checked(lengths.headers).ok_or(MALFORMED)?;
    let (name, is_error) = Headers::read(headers)?.name()?;
    each(Event { name: text(name)?, data: text(payload)?, is_error })
}

fn text(bytes: &[u8]) -> Result<&str, UpstreamFault> {
    std::str::from_utf8(bytes).map_err(|_| UpstreamFault::Malformed("not UTF-8"))
}

/// The headers that say what a frame is.
#[derive(Default)]
struct Headers<'a> {
    /// `event`, `exception` or `error`.
    message_type: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    exception_type: Option<&'a [u8]>,
    error_code: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, UpstreamFault> {
        const MALFORMED: UpstreamFault = UpstreamFault::Malformed("not a frame's headers");
        let mut headers = Self::default();
        while !bytes.is_empty() {
            let (header, rest) = Header::first_of(bytes).ok_or(MALFORMED)?;
            bytes = rest;
            let field = match header.name {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                _ => continue,
            };
            *field = Some(header.value).filter(|_| header.kind == STRING);
        }
        Ok(headers)
    }

    /// The name of the event, and whether it is an error.
    fn name(self) -> Result<(&'a [u8], bool), UpstreamFault> {
        match self.message_type {
            Some(b"event") => self.event_type.map(|name| (name, false)),
            Some(b"exception") => self.exception_type.map(|name| (name, true)),
            // An error that the service's model does not describe.
            Some(b"error") => self.error_code.map(|name| (name, true)),
            _ => None,
        }
        .ok_or(UpstreamFault::Malformed("a frame without its type"))
    }
}

struct Header<'a> {
    name: &'a [u8],
    kind: u8,
    value: &'a [u8],
}

impl<'a> Header<'a> {
    /// The first header, and the rest; `None` if it is not one.
    fn first_of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (length, bytes) = bytes.split_first()?;
        let (name, bytes) = bytes.split_at_checked(usize::from(*length))?;
        let (kind, bytes) = bytes.split_first()?;
        let (length, bytes) = match *kind {
            0 | 1 => (0, bytes), // true, false
            2 => (1, bytes),     // a byte
            3 => (2, bytes),     // 16 bits
            4 => (4, bytes),     // 32 bits
            5 | 8 => (8, bytes), // 64 bits, a time
            // Bytes, text
            6 | STRING => {
                let (length, bytes) = bytes.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), bytes)
            }
            9 => (16, bytes), // a UUID
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        Some((Self { name, kind: *kind, value }, rest))
    }
}

#[cfg(test)]
mod tests;

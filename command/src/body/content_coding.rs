//! Bodies that are compressed (`content-encoding`, RFC 9110, section 8.4). They are decoded once they have arrived, within the bounds of
//! any other body, so that everything after that sees what the client means.
//!
//! Decoding takes turns with other work on large bodies, on their threads: a few bytes may stand for 32 MiB, and each decoder has a window
//! of its own, which is not counted as the body's memory. A decoder that panics loses its own request only.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use brotli_decompressor::BrotliDecoderParameter;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use tokio::time::Instant;

use super::buffer::BodyBuffer;
use super::large_bodies::{LargeBodies, WAIT_MAX};
use super::memory::{BodyPermit, BoundOf};
use super::{BODY_BYTES_MAX, BodyError, HeldBody};

/// The codings that are decoded, as `accept-encoding` lists them.
pub const ACCEPTED: &str = "br, deflate, gzip, zstd";
/// The most codings of one body, each applied to what the one before has made.
const CODINGS_MAX: usize = 2;
/// The bytes of a compressed body that are dropped at a time.
const PIECE: usize = 64 * 1024;
/// The bytes that are decoded at a time.
const DECODED_PIECE: usize = 16 * 1024;
/// The largest window that a body in zstd may need (RFC 9659).
const ZSTD_WINDOW_MAX: u64 = 8 * 1024 * 1024;
/// The most frames of a body in zstd: the decoder begins anew for each.
const ZSTD_FRAMES_MAX: u32 = 1024;

/// A coding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

impl ContentCoding {
    fn named(name: &str) -> Option<Self> {
        const NAMES: [(&str, ContentCoding); 5] = [
            ("br", ContentCoding::Brotli),
            ("deflate", ContentCoding::Deflate),
            ("gzip", ContentCoding::Gzip),
            ("x-gzip", ContentCoding::Gzip),
            ("zstd", ContentCoding::Zstd),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| *coding)
    }

    fn decoder<'a>(self, coded: impl BufRead + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::Brotli => {
                let mut decoder = brotli_decompressor::Decompressor::new(coded, DECODED_PIECE);
                // With it, a body would choose a window of up to 1 GiB (it is no part of RFC 7932).
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
                Box::new(decoder)
            }
            Self::Deflate => Box::new(ZlibDecoder::new(coded)),
            Self::Gzip => Box::new(MultiGzDecoder::new(coded)),
            Self::Zstd => Box::new(ZstdFrames::new(coded)),
        }
    }
}

/// The codings of a body, in the order in which they were applied; most bodies have none.
///
/// Errors: one of them is not decoded here, or there are too many.
pub fn codings_of(headers: &HeaderMap) -> Result<Vec<ContentCoding>, BodyError> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let names = value.to_str().map_err(|_| BodyError::UnknownCoding)?.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
            if codings.len() == CODINGS_MAX {
                return Err(BodyError::UnknownCoding);
            }
            codings.push(ContentCoding::named(name).ok_or(BodyError::UnknownCoding)?);
        }
    }
    Ok(codings)
}

/// A compressed body as it arrived, in pieces: each is dropped once it is decoded, so that a body never takes the memory of both forms.
#[derive(Debug)]
pub struct CodedBody {
    codings: Vec<ContentCoding>,
    pieces: VecDeque<Vec<u8>>,
    len: usize,
}

impl CodedBody {
    pub const fn new(codings: Vec<ContentCoding>) -> Self {
        Self { codings, pieces: VecDeque::new(), len: 0 }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    /// The memory that the body takes at a length of `len` bytes.
    pub const fn memory_at(len: usize) -> usize {
        if len <= PIECE { len } else { len.next_multiple_of(PIECE) }
    }

    pub fn extend(&mut self, mut chunk: &[u8]) {
        self.len += chunk.len();
        while !chunk.is_empty() {
            if self.pieces.back().is_none_or(|last| last.len() == PIECE) {
                self.pieces.push_back(Vec::new());
            }
            let Some(last) = self.pieces.back_mut() else { return };
            let (taken, rest) = chunk.split_at(chunk.len().min(PIECE - last.len()));
            last.extend_from_slice(taken);
            chunk = rest;
        }
    }

    /// Decodes the whole body, whose bytes the permit counts. What it becomes is no longer than any other body.
    pub async fn decoded(self, permit: BodyPermit) -> Result<HeldBody, BodyError> {
        let until = Instant::now() + WAIT_MAX;
        let decoding = LargeBodies::default().run_until(until, permit.tenant(), move || self.decode(permit));
        decoding.await.unwrap_or_else(|error| Err(BodyError::NotDecoded(error)))
    }

    fn decode(self, mut permit: BodyPermit) -> Result<HeldBody, BodyError> {
        let left = Cell::new(Self::memory_at(self.len));
        let (mut buffer, mut piece) = (BodyBuffer::new(None), vec![0; DECODED_PIECE]);
        let coded = CodedPieces { left: &left, first: Cursor::default(), rest: self.pieces };
        let mut decoder: Box<dyn Read + '_> = Box::new(coded);
        for coding in self.codings.iter().rev() {
            // A form between two codings is bounded as well: it may become nothing at all, without an end.
            let coded = BoundedForm { form: decoder, left: Some(BODY_BYTES_MAX) };
            decoder = coding.decoder(BufReader::with_capacity(DECODED_PIECE, coded));
        }
        loop {
            let read = match decoder.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(BodyError::TooLarge),
                Err(_) => return Err(BodyError::NotAsCoded),
            };
            let len = buffer.len() + read;
            if len > BODY_BYTES_MAX {
                return Err(BodyError::TooLarge);
            }
            permit.shrink_to(left.get() + buffer.memory_at(buffer.len()));
            permit.grow_to(left.get() + buffer.memory_at(len)).map_err(BodyError::NoMemory)?;
            let piece = piece.get(..read).unwrap_or_default();
            buffer.extend(piece, None).map_err(|_| BodyError::NoMemory(BoundOf::Process))?;
        }
        drop(decoder);
        permit.shrink_to(buffer.memory_at(buffer.len()));
        Ok(HeldBody::new(buffer, permit))
    }
}

/// The pieces that are not read yet.
struct CodedPieces<'a> {
    /// The memory that they take.
    left: &'a Cell<usize>,
    first: Cursor<Vec<u8>>,
    rest: VecDeque<Vec<u8>>,
}

impl Read for CodedPieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.first.read(out)?;
            if read > 0 {
                return Ok(read);
            }
            let Some(next) = self.rest.pop_front() else { return Ok(0) };
            self.left.set(if self.rest.is_empty() { next.len() } else { PIECE * (1 + self.rest.len()) });
            self.first = Cursor::new(next);
        }
    }
}

/// A form of the body that has so many bytes at most.
struct BoundedForm<R> {
    form: R,
    /// `None` once there were more.
    left: Option<usize>,
}

impl<R: Read> Read for BoundedForm<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left.ok_or(ErrorKind::FileTooLarge)?;
        let read = self.form.read(out)?;
        self.left = left.checked_sub(read);
        self.left.ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// Frames of zstd, one after the other (RFC 8878, section 3).
struct ZstdFrames<R> {
    coded: R,
    decoder: FrameDecoder,
    is_inside: bool,
    frames_left: u32,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(coded: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_MAX);
        Self { coded, decoder, is_inside: false, frames_left: ZSTD_FRAMES_MAX }
    }

    /// Begins the next frame; false after the last one.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.coded.fill_buf()?.is_empty() {
            self.frames_left = self.frames_left.checked_sub(1).ok_or(ErrorKind::InvalidData)?;
            match self.decoder.init(&mut self.coded) {
                Ok(()) => return Ok(true),
                // A frame for others, which has no content.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.coded.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped != u64::from(length) {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
        Ok(false)
    }

    /// The fault of the form itself goes before that of what the decoder makes of it.
    fn fault(&mut self, error: FrameDecoderError) -> io::Error {
        match self.coded.fill_buf() {
            Err(of_form) => of_form,
            Ok(_) => io::Error::new(ErrorKind::InvalidData, error),
        }
    }

    fn check_sum(&self) -> io::Result<()> {
        let (given, found) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
        if given.is_none() || given == found { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, decoded: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_inside && !self.begin_frame()? {
                return Ok(0);
            }
            self.is_inside = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let block = self.decoder.decode_blocks(&mut self.coded, BlockDecodingStrategy::UptoBlocks(1));
                block.map_err(|error| self.fault(error))?;
            }
            let read = self.decoder.read(decoded)?;
            if read > 0 {
                return Ok(read);
            }
            self.check_sum()?;
            self.is_inside = false;
        }
    }
}

#[cfg(test)]
mod tests;

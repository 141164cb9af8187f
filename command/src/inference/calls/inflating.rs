//! Answers that an upstream has compressed with gzip or deflate, although it was asked not to: some networks in front of servers do so.
//! They are inflated piece by piece as they arrive, so that streams stay streams. Each piece is bounded, however much a few bytes stand
//! for. Other codings have windows of many megabytes, which a stream would hold until its end: they are faults.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes};
use dialects::UpstreamFault;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use provider_client::ResponseBody;

use super::upstream_response::next_data;
use crate::inference::upstream::failure::Cause;

/// The bytes that are inflated at a time.
const PIECE: usize = 16 * 1024;

/// The coding of an answer, of those that are inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflatedCoding {
    Gzip,
    Deflate,
}

impl InflatedCoding {
    /// The coding of an answer; `None` of most.
    ///
    /// Errors: another coding.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, UpstreamFault> {
        let Some(coding) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let is = |name: &str| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if headers.get_all(CONTENT_ENCODING).iter().count() > 1 => Err(UpstreamFault::Coding),
            () if is("") || is("identity") => Ok(None),
            () if is("gzip") || is("x-gzip") => Ok(Some(Self::Gzip)),
            () if is("deflate") => Ok(Some(Self::Deflate)),
            () => Err(UpstreamFault::Coding),
        }
    }
}

/// The body of an answer that is inflated.
pub struct InflatingBody {
    body: ResponseBody,
    inflater: Inflater,
}

impl InflatingBody {
    pub fn new(coding: InflatedCoding, body: ResponseBody) -> Self {
        Self { body, inflater: Inflater::of(coding) }
    }

    /// The next piece of the answer; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            match self.inflater.next() {
                Ok(Inflated::Piece(piece)) => return Ok(Some(piece)),
                Ok(Inflated::End) => return Ok(None),
                Ok(Inflated::NeedsMore) => {}
                Err(fault) => return Err(Cause::Fault(fault)),
            }
            match next_data(&mut self.body).await? {
                Some(chunk) => self.inflater.push(chunk),
                None => self.inflater.end(),
            }
        }
    }
}

/// The outcome of one step.
#[derive(Debug, PartialEq, Eq)]
enum Inflated {
    Piece(Bytes),
    NeedsMore,
    End,
}

/// Inflates what is pushed into it.
enum Inflater {
    Gzip(MultiGzDecoder<Pushed>),
    Deflate(ZlibDecoder<Pushed>),
}

impl Inflater {
    fn of(coding: InflatedCoding) -> Self {
        match coding {
            InflatedCoding::Gzip => Self::Gzip(MultiGzDecoder::new(Pushed::default())),
            InflatedCoding::Deflate => Self::Deflate(ZlibDecoder::new(Pushed::default())),
        }
    }

    /// Pushes a chunk; all of those before it are inflated.
    fn push(&mut self, chunk: Bytes) {
        self.pushed().chunk = chunk;
    }

    fn end(&mut self) {
        self.pushed().is_over = true;
    }

    fn pushed(&mut self) -> &mut Pushed {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
        }
    }

    fn next(&mut self) -> Result<Inflated, UpstreamFault> {
        // An answer without a byte, as some have with a status alone, is no compressed one.
        if self.pushed().is_over && !self.pushed().has_begun {
            return Ok(Inflated::End);
        }
        let mut piece = vec![0; PIECE];
        let read = match self {
            Self::Gzip(decoder) => decoder.read(&mut piece),
            Self::Deflate(decoder) => decoder.read(&mut piece),
        };
        match read {
            Ok(0) => Ok(Inflated::End),
            Ok(read) => {
                piece.truncate(read);
                Ok(Inflated::Piece(piece.into()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Inflated::NeedsMore),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(UpstreamFault::Truncated),
            Err(_) => Err(UpstreamFault::Coding),
        }
    }
}

/// The compressed bytes that have arrived, and are not inflated yet. At their end they block, unless no more will come.
#[derive(Default)]
struct Pushed {
    chunk: Bytes,
    has_begun: bool,
    is_over: bool,
}

impl Read for Pushed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Pushed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.is_over {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.has_begun |= !self.chunk.is_empty();
        Ok(&self.chunk)
    }

    fn consume(&mut self, bytes: usize) {
        self.chunk.advance(bytes.min(self.chunk.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const EVENTS: [&str; 3] = ["data: {\"a\":1}\n\n", "data: {\"b\":\"two words, two words\"}\n\n", "data: [DONE]\n\n"];

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// The stream, and how long it is after each event, which is flushed.
    fn flushed() -> [(InflatedCoding, Vec<u8>, Vec<usize>); 2] {
        let (mut gzip, mut zlib) =
            (GzEncoder::new(Vec::new(), Compression::fast()), ZlibEncoder::new(Vec::new(), Compression::fast()));
        let (mut of_gzip, mut of_zlib) = (Vec::new(), Vec::new());
        for event in EVENTS {
            gzip.write_all(event.as_bytes()).and_then(|()| gzip.flush()).unwrap();
            zlib.write_all(event.as_bytes()).and_then(|()| zlib.flush()).unwrap();
            of_gzip.push(gzip.get_ref().len());
            of_zlib.push(zlib.get_ref().len());
        }
        [
            (InflatedCoding::Gzip, gzip.finish().unwrap(), of_gzip),
            (InflatedCoding::Deflate, zlib.finish().unwrap(), of_zlib),
        ]
    }

    /// All that can be inflated so far.
    fn drain(inflater: &mut Inflater, text: &mut Vec<u8>) -> Result<Inflated, UpstreamFault> {
        loop {
            match inflater.next()? {
                Inflated::Piece(piece) => text.extend_from_slice(&piece),
                end => return Ok(end),
            }
        }
    }

    fn inflated(coding: InflatedCoding, coded: &[u8], chunk: usize) -> Result<Vec<u8>, UpstreamFault> {
        let (mut inflater, mut text) = (Inflater::of(coding), Vec::new());
        for chunk in coded.chunks(chunk) {
            inflater.push(Bytes::copy_from_slice(chunk));
            if drain(&mut inflater, &mut text)? == Inflated::End {
                return Ok(text);
            }
        }
        inflater.end();
        drain(&mut inflater, &mut text).map(|_| text)
    }

    #[test]
    fn each_event_is_there_once_its_bytes_are_however_they_are_cut() {
        for (coding, coded, ends) in flushed() {
            for chunk in [1, 2, 7, coded.len()] {
                assert_eq!(inflated(coding, &coded, chunk).unwrap(), EVENTS.concat().as_bytes(), "{coding:?} {chunk}");
            }
            let (mut inflater, mut text, mut begins) = (Inflater::of(coding), Vec::new(), 0);
            for (at, end) in ends.into_iter().enumerate() {
                inflater.push(Bytes::copy_from_slice(&coded[begins..end]));
                assert_eq!(drain(&mut inflater, &mut text), Ok(Inflated::NeedsMore));
                assert_eq!(text, EVENTS[..=at].concat().as_bytes(), "{coding:?}");
                begins = end;
            }
        }
    }

    #[test]
    fn a_member_for_each_event_is_one_answer() {
        let coded = EVENTS.map(|event| gzip(event.as_bytes())).concat();
        for chunk in [1, 5, coded.len()] {
            assert_eq!(inflated(InflatedCoding::Gzip, &coded, chunk).unwrap(), EVENTS.concat().as_bytes());
        }
    }

    #[test]
    fn what_breaks_off_or_is_something_else_is_a_fault() {
        for (coding, coded, _) in flushed() {
            let cut = &coded[..coded.len() - 9];
            assert_eq!(inflated(coding, cut, 4), Err(UpstreamFault::Truncated), "{coding:?}");
            assert_eq!(inflated(coding, b"{\"choices\":[]}", 4), Err(UpstreamFault::Coding), "{coding:?}");
            assert_eq!(inflated(coding, b"", 4), Ok(Vec::new()), "{coding:?}");
        }
    }

    #[test]
    fn a_few_bytes_come_as_many_bounded_pieces() {
        let coded = gzip(&vec![b' '; 8 * 1024 * 1024]);
        let mut inflater = Inflater::of(InflatedCoding::Gzip);
        inflater.push(coded.into());
        let mut pieces = 0;
        while let Inflated::Piece(piece) = inflater.next().unwrap() {
            assert!(piece.len() <= PIECE);
            pieces += 1;
        }
        assert_eq!(pieces, 512);
    }

    #[test]
    fn codings_are_told_apart_and_none_is_guessed() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_str(value).unwrap()));
            InflatedCoding::of(&values.collect())
        };
        assert_eq!((of(&[]), of(&["identity"]), of(&[""])), (Ok(None), Ok(None), Ok(None)));
        assert_eq!((of(&["GZip"]), of(&["x-gzip"])), (Ok(Some(InflatedCoding::Gzip)), Ok(Some(InflatedCoding::Gzip))));
        assert_eq!(of(&["deflate"]), Ok(Some(InflatedCoding::Deflate)));
        for values in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(values), Err(UpstreamFault::Coding), "{values:?}");
        }
    }
}

//! Answers that an upstream has compressed with gzip or deflate, although it was asked not to: some networks in front of servers do so.
//! They are inflated as they arrive, so that streams stay streams, in bounded pieces, however much a few bytes stand for. Codings with
//! windows of many megabytes, which a stream would hold until its end, are faults. An answer that is not compressed, though its header
//! names gzip or deflate, or a name that is no coding, is taken as it is.

use std::io::Write;

use bytes::Bytes;
use dialects::UpstreamFault;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// The most bytes that are inflated at a time: they become a thousand times as many at most.
const STEP: usize = 256;
/// The most bytes that are handed out at a time.
const PIECE: usize = 16 * 1024;
/// Codings that are not inflated (IANA's registry), and are compressed all the same.
const NOT_INFLATED: [&str; 6] = ["br", "compress", "dcb", "dcz", "x-compress", "zstd"];

/// The coding of an answer, of those that are inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflatedCoding {
    Gzip,
    Deflate,
}

impl InflatedCoding {
    /// The coding of an answer; `None` of most, and of one whose coding is no known name.
    ///
    /// Errors: a coding that is not inflated, or several.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, UpstreamFault> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                let is = |known: &str| name.eq_ignore_ascii_case(known);
                let coding = match () {
                    () if is("gzip") || is("x-gzip") => Self::Gzip,
                    () if is("deflate") => Self::Deflate,
                    () if NOT_INFLATED.into_iter().any(is) => return Err(UpstreamFault::Coding),
                    () => continue,
                };
                if found.replace(coding).is_some() {
                    return Err(UpstreamFault::Coding);
                }
            }
        }
        Ok(found)
    }

    /// The form of a body that is said to be in this coding, by its first byte. No answer of a dialect begins as one that is.
    fn form_beginning_with(self, first: u8) -> Form {
        match self {
            // RFC 1952, section 2.3.1.
            Self::Gzip if first == 0x1f => Form::Gzip(MultiGzDecoder::new(Vec::new())),
            // RFC 1950, section 2.2: the method is 8.
            Self::Deflate if first & 0x0f == 8 => Form::Deflate(ZlibDecoder::new(Vec::new())),
            Self::Gzip | Self::Deflate => Form::Plain,
        }
    }
}

/// Inflates what is pushed into it.
pub struct Inflater {
    /// The compressed bytes that have arrived, and are not inflated yet.
    chunk: Bytes,
    /// The inflated bytes that are not handed out yet.
    ready: Bytes,
    form: Form,
}

/// The form of the bytes that arrive.
enum Form {
    /// Nothing has arrived.
    Expected(InflatedCoding),
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
    /// They are not compressed.
    Plain,
}

impl Inflater {
    pub const fn of(coding: InflatedCoding) -> Self {
        Self { chunk: Bytes::new(), ready: Bytes::new(), form: Form::Expected(coding) }
    }

    /// Pushes a chunk; all of those before it are inflated.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// The next piece; `None` if it needs more bytes.
    pub fn next(&mut self) -> Result<Option<Bytes>, UpstreamFault> {
        while self.ready.is_empty() {
            let Some(first) = self.chunk.first() else { return Ok(None) };
            if let Form::Expected(coding) = self.form {
                self.form = coding.form_beginning_with(*first);
            }
            if matches!(self.form, Form::Plain) {
                self.ready = std::mem::take(&mut self.chunk);
                break;
            }
            let step = self.chunk.split_to(self.chunk.len().min(STEP));
            self.ready = self.form.inflated(step, self.chunk.is_empty())?;
        }
        Ok(Some(self.ready.split_to(self.ready.len().min(PIECE))))
    }

    /// No more will come. Errors: the answer has broken off.
    pub fn end(&mut self) -> Result<(), UpstreamFault> {
        let is_whole = match &mut self.form {
            // An answer without a byte, as some have with a status alone, is no compressed one.
            Form::Expected(_) | Form::Plain => true,
            Form::Gzip(decoder) => decoder.try_finish().is_ok(),
            Form::Deflate(decoder) => decoder.try_finish().is_ok(),
        };
        if is_whole { Ok(()) } else { Err(UpstreamFault::Truncated) }
    }
}

impl Form {
    /// The text of these bytes; of the last that have arrived all of it.
    fn inflated(&mut self, bytes: Bytes, are_last: bool) -> Result<Bytes, UpstreamFault> {
        match self {
            Self::Gzip(decoder) => inflate(decoder, &bytes, are_last, MultiGzDecoder::get_mut),
            Self::Deflate(decoder) => inflate(decoder, &bytes, are_last, ZlibDecoder::get_mut),
            Self::Expected(_) | Self::Plain => Ok(bytes),
        }
    }
}

/// The text of these bytes, as far as the decoder gives it; of the last ones all. Bytes after the end of the compressed form are not
/// read.
fn inflate<D: Write>(
    decoder: &mut D,
    mut bytes: &[u8],
    are_last: bool,
    inflated: impl Fn(&mut D) -> &mut Vec<u8>,
) -> Result<Bytes, UpstreamFault> {
    while !bytes.is_empty() {
        match decoder.write(bytes).map_err(|_| UpstreamFault::Coding)? {
            0 => break,
            taken => bytes = bytes.get(taken..).unwrap_or_default(),
        }
    }
    // Otherwise a part would stay in its window until more bytes come.
    if are_last {
        decoder.flush().map_err(|_| UpstreamFault::Coding)?;
    }
    Ok(std::mem::take(inflated(decoder)).into())
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
    fn drain(inflater: &mut Inflater, text: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        while let Some(piece) = inflater.next()? {
            assert!(piece.len() <= PIECE);
            text.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn inflated(coding: InflatedCoding, coded: &[u8], chunk: usize) -> Result<Vec<u8>, UpstreamFault> {
        let (mut inflater, mut text) = (Inflater::of(coding), Vec::new());
        for chunk in coded.chunks(chunk) {
            inflater.push(Bytes::copy_from_slice(chunk));
            drain(&mut inflater, &mut text)?;
        }
        inflater.end().map(|()| text)
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
                drain(&mut inflater, &mut text).unwrap();
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
    fn many_events_that_come_at_once_are_all_there_before_more_comes() {
        let events = EVENTS.concat().repeat(1000);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(events.as_bytes()).and_then(|()| encoder.flush()).unwrap();
        let (mut inflater, mut text) = (Inflater::of(InflatedCoding::Gzip), Vec::new());
        inflater.push(encoder.get_ref().clone().into());
        drain(&mut inflater, &mut text).unwrap();
        assert_eq!((events.len() > 2 * PIECE, text.len()), (true, events.len()));
    }

    #[test]
    fn what_breaks_off_or_is_damaged_is_a_fault() {
        for (coding, coded, _) in flushed() {
            for chunk in [4, coded.len()] {
                let cut = &coded[..coded.len() - 9];
                assert_eq!(inflated(coding, cut, chunk), Err(UpstreamFault::Truncated), "{coding:?}");
            }
            let mut damaged = coded.clone();
            damaged[12] ^= 0xff;
            assert!(inflated(coding, &damaged, 4).is_err(), "{coding:?}");
            assert_eq!(inflated(coding, b"", 4), Ok(Vec::new()), "{coding:?}");
        }
    }

    #[test]
    fn what_is_not_compressed_is_taken_as_it_is_whatever_its_header_says() {
        for text in
            [r#"{"choices":[]}"#, "data: {}\n\n", "event: x\n\n", ": comment\n\n", "\n\n{}", "\r\n", "[]", "<html>"]
        {
            for coding in [InflatedCoding::Gzip, InflatedCoding::Deflate] {
                assert_eq!(inflated(coding, text.as_bytes(), 3).unwrap(), text.as_bytes(), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_few_bytes_come_as_many_bounded_pieces() {
        let text = vec![b' '; 8 * 1024 * 1024];
        assert_eq!(inflated(InflatedCoding::Gzip, &gzip(&text), 1 << 20).unwrap(), text);
    }

    #[test]
    fn codings_are_told_apart_and_none_is_guessed() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_str(value).unwrap()));
            InflatedCoding::of(&values.collect())
        };
        for values in
            [&[][..], &["identity"], &[""], &["identity, identity"], &["identity", "identity"], &["utf-8"], &["none"]]
        {
            assert_eq!(of(values), Ok(None), "{values:?}");
        }
        assert_eq!(of(&["identity, gzip"]), Ok(Some(InflatedCoding::Gzip)));
        assert_eq!((of(&["GZip"]), of(&["x-gzip"])), (Ok(Some(InflatedCoding::Gzip)), Ok(Some(InflatedCoding::Gzip))));
        assert_eq!(of(&["deflate"]), Ok(Some(InflatedCoding::Deflate)));
        for values in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(values), Err(UpstreamFault::Coding), "{values:?}");
        }
    }
}

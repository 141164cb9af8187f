//! A parser of server-sent events from bytes that arrive in any pieces. It takes CRLF, LF and CR; comments; several
//! `data:` lines, joined by a newline; `data:` with or without a space; characters split over reads; and a stream that
//! ends without a newline.

use super::{EVENT_BYTES_MAX, Event};
use crate::{UpstreamFault, work};

/// Buffer capacity kept for the next event. Most events are far shorter.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The beginning of a line of data that has a value.
const DATA: &[u8] = b"data:";

const NOT_UTF8: UpstreamFault = UpstreamFault::Malformed("not UTF-8");

/// Divides a stream into events. Buffers at most [`EVENT_BYTES_MAX`] bytes.
#[derive(Default)]
pub struct SseParser {
    /// An incomplete line.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR that ended a line, so that an LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
    answer_bytes: usize,
}

impl SseParser {
    /// Reads the next bytes, and calls `each` for every event that ends in them.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        work::steps(bytes.len());
        if std::mem::take(&mut self.after_cr) {
            match bytes {
                [b'\n', rest @ ..] => bytes = rest,
                [] => self.after_cr = true,
                _ => {}
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
            if self.line.is_empty() {
                self.answer_bytes += data_bytes(line, 0);
                self.take_line(line, &mut each)?;
            } else {
                self.keep(line)?;
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut each)?;
            }
        }
        self.keep(bytes)
    }

    /// Handles the end of the stream: calls `each` for a last event without its newline or blank line.
    pub fn finish(
        &mut self,
        mut each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut each)?;
        }
        self.dispatch(&mut each)
    }

    /// Bytes received of data that is not blank.
    pub const fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Bytes received of an incomplete event.
    pub const fn buffered_bytes(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len()
    }

    pub fn held_bytes(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), UpstreamFault> {
        self.must_fit(bytes.len())?;
        work::steps(bytes.len());
        let begin = self.line.len();
        self.line.extend_from_slice(bytes);
        self.answer_bytes += data_bytes(&self.line, begin);
        Ok(())
    }

    fn must_fit(&self, more: usize) -> Result<(), UpstreamFault> {
        if self.buffered_bytes() + more > EVENT_BYTES_MAX { Err(UpstreamFault::TooLarge) } else { Ok(()) }
    }

    fn take_line(
        &mut self,
        mut line: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(each);
        }
        self.must_fit(line.len())?;
        work::steps(line.len());
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => value.clone_into(&mut self.name),
            _ => {} // comments (an empty field), `id`, `retry`, unknown fields
        }
        Ok(())
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
        if self.has_data {
            let data = std::str::from_utf8(&self.data).map_err(|_| NOT_UTF8)?;
            let name = std::str::from_utf8(&self.name).map_err(|_| NOT_UTF8)?;
            each(Event { name: if name.is_empty() { "message" } else { name }, data, is_error: false })?;
        }
        for field in [&mut self.data, &mut self.name] {
            field.clear();
            field.shrink_to(KEPT_BYTES_MAX);
        }
        self.has_data = false;
        Ok(())
    }
}

/// Returns how many bytes from `begin` on are the value of a line of data; none if they are all blank.
fn data_bytes(line: &[u8], begin: usize) -> usize {
    let value = line.strip_prefix(DATA).and_then(|value| value.get(begin.saturating_sub(DATA.len())..));
    value.filter(|value| !value.trim_ascii_start().is_empty()).map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        let mut keep = |event: Event<'_>| {
            events.push((event.name.to_owned(), event.data.to_owned()));
            Ok::<(), UpstreamFault>(())
        };
        for piece in pieces {
            parser.feed(piece, &mut keep).unwrap();
        }
        parser.finish(&mut keep).unwrap();
        events
    }

    const STREAM: &str =
        "\u{feff}: comment\r\nevent: a\r\ndata: one\r\n\r\ndata:two\ndata: é\n\n:\n\nid: 7\n\ndata\r\rdata:  x";

    #[test]
    fn every_form_of_line_is_understood() {
        let wanted = [("a", "one"), ("message", "two\né"), ("message", ""), ("message", " x")];
        assert_eq!(events_of([STREAM.as_bytes()]), wanted.map(|(name, data)| (name.to_owned(), data.to_owned())));
    }

    #[test]
    fn an_event_that_never_ends_is_a_fault() {
        let long = vec![b'x'; 1024 * 1024];
        for (name, piece) in [("a line", long.clone()), ("an event", [b"data:", long.as_slice(), b"\n"].concat())] {
            let (mut parser, mut fault) = (SseParser::default(), Ok(()));
            for _ in 0..9 {
                fault = fault.and_then(|()| parser.feed(&piece, |_| Ok::<(), UpstreamFault>(())));
            }
            assert_eq!(fault, Err(UpstreamFault::TooLarge), "{name}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_one_at_the_beginning_alone() {
        let marked = "\u{feff}data: one\n\u{feff}data: two\n\n";
        assert_eq!(events_of([marked.as_bytes()]), [("message".to_owned(), "one".to_owned())]);
    }

    #[test]
    fn an_event_of_eight_mebibytes_is_read_and_none_that_is_longer() {
        let (field, mut parser) = (b"data:".as_slice(), SseParser::default());
        let mut read = |bytes: usize| {
            let line = [field, &vec![b'x'; bytes - field.len()], b"\n\n"].concat();
            let mut length = 0;
            let mut keep = |event: Event<'_>| {
                length = event.data.len();
                Ok::<(), UpstreamFault>(())
            };
            parser.feed(&line[..bytes], &mut keep)?;
            parser.feed(&line[bytes..], &mut keep).map(|()| length)
        };
        assert_eq!(read(8_388_608), Ok(8_388_603));
        assert_eq!(read(8_388_609), Err(UpstreamFault::TooLarge));
    }

    #[test]
    fn an_empty_read_between_cr_and_lf_does_not_split_a_line_end() {
        let pieces = ["event: a\r", "", "", "\ndata: one\r", "", "\n\r\n"];
        assert_eq!(events_of(pieces.map(str::as_bytes)), [("a".to_owned(), "one".to_owned())]);
    }

    #[test]
    fn only_data_is_of_an_answer() {
        let count = |pieces: &[&str]| {
            let mut parser = SseParser::default();
            pieces.iter().for_each(|piece| parser.feed(piece.as_bytes(), |_| Ok(())).unwrap());
            parser.answer_bytes()
        };
        for empty in [
            ": x\n\n",
            "\n\r\n",
            "data:\n\n",
            "data: \r\n \r\n",
            "data\n\n",
            "id: 7\nretry: 1\nevent: a\n\n",
            ":aa",
            "data: ",
        ] {
            let bytes: Vec<&str> = empty.split_inclusive(|_: char| true).collect();
            assert_eq!((count(&[empty]), count(&bytes)), (0, 0), "{empty:?}");
        }
        assert_eq!(count(&["event: a\ndata: one\n\ndata:two\n"]), 7);
        // An event counts before it is complete.
        assert_eq!((count(&["da", "ta: ", "on"]), count(&["da", "ta: ", "on", "e", "\n\n"])), (2, 3));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(events_of(pieces), events_of([STREAM.as_bytes()]));
        }
    }
}

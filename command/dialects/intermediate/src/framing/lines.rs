//! A parser of newline-delimited JSON: one value in each line. Blank lines are skipped, and a stream may end without a
//! newline.

use super::{EVENT_BYTES_MAX, Event};
use crate::{UpstreamFault, work};

/// Buffer capacity kept for the next line. Most lines are far shorter.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Divides a stream into lines. Buffers at most [`EVENT_BYTES_MAX`] bytes.
#[derive(Default)]
pub struct LineParser {
    /// An incomplete line.
    line: Vec<u8>,
    answer_bytes: usize,
}

impl LineParser {
    /// Reads the next bytes, and calls `each` for every line that ends in them.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        work::steps(bytes.len());
        if !bytes.trim_ascii_start().is_empty() {
            self.answer_bytes += bytes.len();
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                take(line, &mut each)?;
            } else {
                self.keep(line)?;
                let mut line = std::mem::take(&mut self.line);
                take(&line, &mut each)?;
                line.clear();
                line.shrink_to(KEPT_BYTES_MAX);
                self.line = line;
            }
        }
        self.keep(bytes)
    }

    /// Handles the end of the stream: calls `each` for a last line without its newline.
    pub fn finish(
        &mut self,
        mut each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        take(&std::mem::take(&mut self.line), &mut each)
    }

    /// Bytes received, without pieces that were blank.
    pub const fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Bytes received of an incomplete line.
    pub const fn buffered_bytes(&self) -> usize {
        self.line.len()
    }

    pub fn held_bytes(&self) -> usize {
        self.line.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), UpstreamFault> {
        if self.line.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        work::steps(bytes.len());
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

fn take(line: &[u8], each: &mut impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
    if line.len() > EVENT_BYTES_MAX {
        return Err(UpstreamFault::TooLarge);
    }
    let data = std::str::from_utf8(line.trim_ascii()).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
    if data.is_empty() { Ok(()) } else { each(Event { name: "message", data, is_error: false }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut parser, mut lines) = (LineParser::default(), Vec::new());
        let mut keep = |event: Event<'_>| {
            lines.push(event.data.to_owned());
            Ok::<(), UpstreamFault>(())
        };
        for piece in pieces {
            parser.feed(piece, &mut keep).unwrap();
        }
        parser.finish(&mut keep).unwrap();
        lines
    }

    const STREAM: &str = "{\"a\":1}\n\n  {\"é\":2}\r\n{\"b\":3}";

    #[test]
    fn a_line_that_never_ends_is_a_fault() {
        let (mut parser, mut fault) = (LineParser::default(), Ok(()));
        for _ in 0..9 {
            fault = fault.and_then(|()| parser.feed(&vec![b'x'; 1024 * 1024], |_| Ok(())));
        }
        assert_eq!(fault, Err(UpstreamFault::TooLarge));
    }

    #[test]
    fn blank_lines_are_not_of_an_answer() {
        let mut parser = LineParser::default();
        for (piece, wanted) in [("\n", 0), (" \r\n\n", 0), ("{\"a\":", 5), (" ", 5), ("1}\n", 8)] {
            parser.feed(piece.as_bytes(), |_| Ok(())).unwrap();
            assert_eq!(parser.answer_bytes(), wanted, "{piece:?}");
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(lines_of(pieces), ["{\"a\":1}", "{\"é\":2}", "{\"b\":3}"]);
        }
    }
}

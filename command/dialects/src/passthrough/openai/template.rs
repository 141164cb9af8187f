//! Most chunks of a stream differ from the one before only in their text. A template recognizes such a chunk by comparing
//! bytes, and relays it without parsing it.
//!
//! Guarantees: the chunk is relayed and measured exactly as if it were parsed. A chunk that parses still does with another
//! JSON string in the place of one, and everything around the string is read as before. Whatever else changes, such as an
//! index, a finish reason or a field of random length, makes the chunk differ from the template, and it is parsed.

use bytes::BytesMut;
use intermediate::Metered;
use intermediate::json::{self, Kind};
use memchr::memmem;
use provider_dialects::openai::chunk::{Piece, measure};
use surfaces::sse::put_data_parts;

/// Longest chunk that becomes a template, as received and as relayed, in bytes: a stream keeps both.
const CHUNK_BYTES_MAX: usize = 4096;
/// How much of a part is searched for; the rest is compared.
const SEARCHED_BYTES: usize = 16;

/// A chunk with one piece of text and without finish reason or usage, divided at that text.
pub struct Template {
    received: [Box<str>; 2],
    relayed: [Box<str>; 2],
    is_reasoning: bool,
}

impl Template {
    /// The template of a chunk, with its choices and the only text in them, and of what it was relayed as.
    pub fn new(received: &str, choices: &str, only_text: &Piece<'_>, relayed: &[u8]) -> Option<Self> {
        let (text, is_reasoning) = match only_text {
            Piece::Text(text) => (*text, false),
            Piece::Reasoning(text) => (*text, true),
            Piece::Call(_) | Piece::Logprobs(_) | Piece::End(_) => return None,
        };
        if received.len().max(relayed.len()) > CHUNK_BYTES_MAX {
            return None;
        }
        let relayed = std::str::from_utf8(relayed).ok()?;
        // The choices are relayed as they are. If their bytes are repeated elsewhere, there is no telling which are theirs.
        let relayed_choices = only_offset(relayed, choices)?;
        let at = json::span(choices, text).start;
        Some(Self {
            received: around(received, json::span(received, text).start, text.len())?,
            relayed: around(relayed, relayed_choices + at, text.len())?,
            is_reasoning,
        })
    }

    /// Relays a chunk that differs from the template in its text alone. Returns whether the text has content; `None` for
    /// any other chunk.
    pub fn relay(&self, chunk: &str, metered: &mut Metered, out: &mut BytesMut) -> Option<bool> {
        let ([before, after], [relayed_before, relayed_after]) = (&self.received, &self.relayed);
        let text = chunk.strip_prefix(&**before)?.strip_suffix(&**after)?;
        // A string alone: white space after it would not be measured as part of one.
        if json::kind(text) != Kind::String || !text.ends_with('"') || json::check(text).is_err() {
            return None;
        }
        put_data_parts(out, &[relayed_before.as_bytes(), text.as_bytes(), relayed_after.as_bytes()]);
        Some(measure(&if self.is_reasoning { Piece::Reasoning(text) } else { Piece::Text(text) }, metered))
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.received.iter().chain(&self.relayed).map(|part| part.len()).sum()
    }
}

/// Where the only copy of `part` in `whole` begins; `None` if there is none, or another one.
fn only_offset(whole: &str, part: &str) -> Option<usize> {
    // A search for all of it would first read all of it.
    let beginning = part.as_bytes().get(..SEARCHED_BYTES).unwrap_or(part.as_bytes());
    let mut found = memmem::find_iter(whole.as_bytes(), beginning)
        .filter(|at| whole.as_bytes().get(*at..).is_some_and(|rest| rest.starts_with(part.as_bytes())));
    found.next().filter(|_| found.next().is_none())
}

/// Returns the text before and after the given bytes.
fn around(whole: &str, start: usize, bytes: usize) -> Option<[Box<str>; 2]> {
    Some([whole.get(..start)?.into(), whole.get(start + bytes..)?.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_only_if_there_is_one_copy_of_it() {
        let part = r#"[{"index":0,"delta":{"content":"a"}}]"#;
        let same_beginning = r#"[{"index":0,"delta":{"content":"b"}}]"#;
        for (whole, found) in [
            (format!("{{{part}}}"), Some(1)),
            (format!("{same_beginning}{part}{same_beginning}"), Some(same_beginning.len())),
            (format!("{part}{part}"), None),
            (format!("{part}{same_beginning}{part}"), None),
            (same_beginning.to_owned(), None),
            (part[1..].to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(only_offset(&whole, part), found, "{whole}");
        }
        assert_eq!(only_offset("abcab", "bc"), Some(1));
        assert_eq!(only_offset("abcab", "ab"), None);
    }
}

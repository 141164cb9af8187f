//! Most chunks of a stream differ from the one before only in their text. A template recognizes such a chunk by comparing
//! bytes, and relays it without parsing it.
//!
//! Guarantees: the chunk is relayed and measured exactly as if it were parsed. A chunk that parses still does with another
//! JSON string in the place of one, and everything around the string is read as before. Whatever else changes, such as an
//! index, a finish reason or a field of random length, makes the chunk differ from the template, and it is parsed.

use bytes::BytesMut;

use crate::json::{self, Kind};
use crate::surfaces::openai::put_data_parts;
use crate::upstreams::openai::chunk::{Piece, choices_of, measure, read_choice};
use crate::{Metered, UpstreamFault};

/// Longest chunk that becomes a template, in bytes: a stream keeps four parts of it.
const CHUNK_BYTES_MAX: usize = 4096;

/// A chunk with one piece of text and without finish reason or usage, divided at that text.
pub struct Template {
    received: [Box<str>; 2],
    relayed: [Box<str>; 2],
    is_reasoning: bool,
}

impl Template {
    /// The template of a chunk and of what it was relayed as. `None` for any other chunk.
    pub fn new(received: &str, relayed: &[u8]) -> Option<Self> {
        let relayed = std::str::from_utf8(relayed).ok().filter(|relayed| relayed.len() <= CHUNK_BYTES_MAX)?;
        let (text, is_reasoning) = only_text(received)?;
        let (relayed_text, _) = only_text(relayed)?;
        Some(Self {
            received: around(received, text)?.map(Into::into),
            relayed: around(relayed, relayed_text)?.map(Into::into),
            is_reasoning,
        })
    }

    /// Relays a chunk that differs from the template in its text alone. Returns whether the text has content; `None` for
    /// any other chunk.
    pub fn relay(&self, chunk: &str, metered: &mut Metered, out: &mut BytesMut) -> Option<bool> {
        let ([before, after], [relayed_before, relayed_after]) = (&self.received, &self.relayed);
        let text = chunk.strip_prefix(&**before)?.strip_suffix(&**after)?;
        if json::kind(text) != Kind::String || json::check(text).is_err() {
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

/// The text of a chunk that has one choice with one string in it, and true if that is reasoning.
fn only_text(chunk: &str) -> Option<(&str, bool)> {
    let mut choices = choices_of(json::field(chunk, "choices"));
    let (Some(Ok(choice)), None) = (choices.next(), choices.next()) else { return None };
    let mut found = None;
    let read = read_choice(choice, &mut |_, piece| {
        match piece {
            Piece::Text(text) if found.is_none() => found = Some((text, false)),
            Piece::Reasoning(text) if found.is_none() => found = Some((text, true)),
            Piece::End(None) => {}
            _ => return Err(UpstreamFault::TooLarge),
        }
        Ok(())
    });
    found.filter(|(text, _)| read.is_ok() && json::kind(text) == Kind::String)
}

/// What is before and after a part of a text.
fn around<'a>(whole: &'a str, part: &str) -> Option<[&'a str; 2]> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    Some([whole.get(..start)?, whole.get(start + part.len()..)?])
}

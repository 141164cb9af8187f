//! Repairs truncated JSON, so that its readable beginning can be parsed.

use std::borrow::Cow;

use super::DEPTH_MAX;
use crate::work;

/// Closes what a truncated text leaves open: a string where it breaks off, then objects and arrays. A name without a
/// value is dropped, and so is a number or literal that may be incomplete. Text that leaves nothing open, or is too
/// deep, is returned unchanged.
pub fn complete(text: &str) -> Cow<'_, str> {
    work::steps(text.len());
    if !text.trim_ascii_start().starts_with(['{', '[']) {
        return Cow::Borrowed(text);
    }
    let mut open = Nesting::default();
    for (at, byte) in text.bytes().enumerate() {
        open.take(at, byte);
        if open.closers.len() > DEPTH_MAX as usize {
            return Cow::Borrowed(text);
        }
    }
    if open.closers.is_empty() {
        return Cow::Borrowed(text);
    }
    let (end, quote) = match &open.string {
        Some(string) if !string.is_name => (string.incomplete().unwrap_or(text.len()), "\""),
        _ => (open.valid_to, ""),
    };
    let kept = text.get(..end).unwrap_or(text);
    let closers = open.closers.iter().rev().map(|closer| char::from(*closer));
    Cow::Owned(kept.chars().chain(quote.chars()).chain(closers).collect())
}

/// The containers and the string that are open at a position.
#[derive(Default)]
struct Nesting {
    closers: Vec<u8>,
    string: Option<OpenString>,
    /// The next string is a member's name.
    is_name_due: bool,
    /// Up to here the text is valid once `closers` follow.
    valid_to: usize,
}

#[derive(Default)]
struct OpenString {
    is_name: bool,
    escape: Option<Escape>,
    /// Position of the first half of a surrogate pair whose second half is missing.
    half_at: Option<usize>,
}

/// An incomplete escape.
struct Escape {
    at: usize,
    /// Value of the digits of `\u` so far, and their number.
    digits: Option<(u32, u8)>,
}

impl Nesting {
    fn take(&mut self, at: usize, byte: u8) {
        if let Some(string) = &mut self.string {
            if string.ends_with(at, byte) {
                if !string.is_name {
                    self.valid_to = at + 1;
                }
                self.string = None;
            }
            return;
        }
        match byte {
            b'"' => self.string = Some(OpenString { is_name: self.is_name_due, ..OpenString::default() }),
            b'{' | b'[' => {
                self.closers.push(if byte == b'{' { b'}' } else { b']' });
                (self.is_name_due, self.valid_to) = (byte == b'{', at + 1);
            }
            b'}' | b']' => {
                self.closers.pop();
                (self.is_name_due, self.valid_to) = (false, at + 1);
            }
            b',' => (self.is_name_due, self.valid_to) = (self.closers.last() == Some(&b'}'), at),
            b':' => self.is_name_due = false,
            _ => {}
        }
    }
}

impl OpenString {
    /// Reads a byte of the string; true if it ends the string.
    fn ends_with(&mut self, at: usize, byte: u8) -> bool {
        match self.escape.take() {
            None if byte == b'\\' => self.escape = Some(Escape { at, digits: None }),
            None => {
                self.half_at = None;
                return byte == b'"';
            }
            Some(Escape { at, digits: None }) if byte == b'u' => {
                self.escape = Some(Escape { at, digits: Some((0, 0)) })
            }
            Some(Escape { digits: None, .. }) => self.half_at = None,
            Some(Escape { at, digits: Some((unit, count)) }) => {
                let unit = unit * 16 + char::from(byte).to_digit(16).unwrap_or(0);
                match count {
                    0..3 => self.escape = Some(Escape { at, digits: Some((unit, count + 1)) }),
                    _ => self.half_at = (0xD800..0xDC00).contains(&unit).then_some(at),
                }
            }
        }
        false
    }

    /// Position of a character that is incomplete without the missing bytes.
    fn incomplete(&self) -> Option<usize> {
        self.half_at.or(self.escape.as_ref().map(|escape| escape.at))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn wherever_a_text_is_cut_it_is_json_that_begins_as_it_did() {
        let text = r#" {"a":"\"x\\","b":[1,{"c":"\u00e9\ud83d\ude42é"},true,null,-1.5e3],"d":{},"e":[[]],"f":"" } "#;
        let whole: Value = serde_json::from_str(text).expect("JSON");
        assert!(matches!(complete(text), Cow::Borrowed(_)));
        for cut in (2..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let repaired = complete(&text[..cut]);
            let value: Value = serde_json::from_str(&repaired).unwrap_or_else(|error| panic!("{error}: {repaired}"));
            assert!(is_beginning(&value, &whole), "{value}");
        }
    }

    fn is_beginning(start: &Value, whole: &Value) -> bool {
        match (start, whole) {
            (Value::String(start), Value::String(whole)) => whole.starts_with(&**start),
            (Value::Array(start), Value::Array(whole)) => {
                start.len() <= whole.len() && start.iter().zip(whole).all(|(start, whole)| is_beginning(start, whole))
            }
            (Value::Object(start), Value::Object(whole)) => {
                start.iter().all(|(name, start)| whole.get(name).is_some_and(|whole| is_beginning(start, whole)))
            }
            (start, whole) => start == whole,
        }
    }

    #[test]
    fn what_is_no_json_stays_as_it_is() {
        let deep = "[".repeat(DEPTH_MAX as usize + 1);
        for text in ["", "<html>", "\"x", "1", "{}", "[]x", "]", &deep] {
            assert_eq!(complete(text), text);
        }
    }
}

//! Which provider or model of a document an error is in, found by the error's line and column. Only a document that is refused is
//! read for this, once, from its beginning to the end of the entry.

use crate::checks::{place_of_model, place_of_provider};

/// How deep the entries of `providers` and `models` are: in a list of the document.
const ENTRY_DEPTH: usize = 3;

/// The entry of `providers` or `models` that has this place in it, in the words of other errors; `None` outside of them, and for an
/// entry that does not say what it is of. Line and column are counted from 1, the column in bytes.
pub fn place_of(text: &str, line: usize, column: usize) -> Option<String> {
    let wanted = offset_of(text, line, column)?;
    let mut tokens = Tokens { text, at: 0 };
    let (mut depth, mut last_text, mut field) = (0_usize, None, None);
    let mut entry: Option<Entry> = None;
    let mut list = "";
    while let Some((token, at)) = tokens.next() {
        match token {
            Token::Open => {
                depth += 1;
                if depth + 1 == ENTRY_DEPTH {
                    list = field.unwrap_or_default();
                }
                if depth == ENTRY_DEPTH {
                    if at > wanted {
                        return None;
                    }
                    entry = Some(Entry::default());
                }
                field = None;
            }
            Token::Close => {
                if depth == ENTRY_DEPTH {
                    let closed = entry.take().filter(|_| at >= wanted);
                    if let Some(closed) = closed {
                        return closed.place(list);
                    }
                }
                depth = depth.saturating_sub(1);
            }
            Token::Colon => field = last_text.take(),
            Token::Text(value) => {
                if let (Some(entry), Some(field), ENTRY_DEPTH) = (&mut entry, field.take(), depth) {
                    entry.take(field, value);
                }
                last_text = Some(value);
            }
            Token::Other => (field, last_text) = (None, None),
        }
    }
    // The document ends in the middle of it.
    entry?.place(list)
}

/// Where in the text that is.
fn offset_of(text: &str, line: usize, column: usize) -> Option<usize> {
    let before = line.checked_sub(1)?;
    let begin = if before == 0 { 0 } else { text.match_indices('\n').nth(before - 1)?.0 + 1 };
    Some((begin + column).saturating_sub(1))
}

/// The identifying fields of an entry.
#[derive(Default)]
struct Entry {
    id: Option<String>,
    provider: Option<String>,
    model: Option<String>,
}

impl Entry {
    /// The first text of each field. A damaged one is none.
    fn take(&mut self, field: &str, value: &str) {
        let known = match field {
            "id" => &mut self.id,
            "provider" => &mut self.provider,
            "model" => &mut self.model,
            _ => return,
        };
        let read = || serde_json::from_str(&format!("\"{value}\"")).ok();
        *known = known.take().or_else(read);
    }

    fn place(self, list: &str) -> Option<String> {
        match (list, self.provider, self.model) {
            ("providers", ..) => self.id.as_deref().map(place_of_provider),
            ("models", provider, Some(model)) => Some(place_of_model(provider.as_deref(), &model)),
            _ => None,
        }
    }
}

enum Token<'a> {
    Open,
    Close,
    Colon,
    /// The text between the quotes.
    Text(&'a str),
    /// A comma, a number or a word.
    Other,
}

/// The tokens of a text that may not be JSON, each with its offset.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// `None` at the end, and where a text has none.
    fn next(&mut self) -> Option<(Token<'a>, usize)> {
        let bytes = self.text.as_bytes();
        self.at += bytes.get(self.at..)?.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let begin = self.at;
        self.at += 1;
        let token = match bytes[begin] {
            b'{' | b'[' => Token::Open,
            b'}' | b']' => Token::Close,
            b':' => Token::Colon,
            b'"' => {
                while *bytes.get(self.at)? != b'"' {
                    self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
                }
                self.at += 1;
                Token::Text(self.text.get(begin + 1..self.at - 1)?)
            }
            _ => Token::Other,
        };
        Some((token, begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"version\": \"x\",\n\
        \"providers\": [{\"id\": \"one\", \"deep\": {\"id\": \"no\", \"list\": [1]}, \"bad\": 1}],\n\
        \"models\": [{\"bad\": [{\"model\": \"no\"}], \"provider\": \"o\\u006ee\", \"model\": \"a\\\"b\"},\n\
        {\"model\": \"alone\"}, {\"provider\": \"one\"}],\n\
        \"aliases\": {\"model\": \"x\"}}";

    #[test]
    fn an_error_is_in_the_entry_around_it() {
        let place = |marker: &str| {
            let at = TEXT.find(marker).expect("the marker");
            let before = &TEXT[..at];
            let line = before.matches('\n').count() + 1;
            place_of(TEXT, line, at - before.rfind('\n').map_or(0, |end| end + 1) + 1)
        };
        for (marker, wanted) in [
            ("\"version\"", None),
            ("\"bad\": 1", Some("provider \"one\"")),
            ("1]}", Some("provider \"one\"")),
            ("\"bad\": [", Some("model \"a\\\"b\" of \"one\"")),
            ("\"no\"}]", Some("model \"a\\\"b\" of \"one\"")),
            ("\"alone\"}", Some("model \"alone\"")),
            ("\"one\"}]", None),
            ("\"x\"}}", None),
        ] {
            assert_eq!(place(marker).as_deref(), wanted, "{marker}");
        }
    }

    #[test]
    fn a_text_that_breaks_off_is_read_to_its_end() {
        let begun = TEXT.find("\"alone\"").expect("the marker") + 7;
        for (text, wanted) in [
            (&TEXT[..begun], Some("model \"alone\"")),
            (&TEXT[..begun - 1], None),
            ("{\"models\": [{\"model\": \"a\", \"x\": \"\\", Some("model \"a\"")),
            ("]]]}}}", None),
            ("", None),
        ] {
            let (line, column) =
                (text.matches('\n').count() + 1, text.len() - text.rfind('\n').map_or(0, |end| end + 1));
            assert_eq!(place_of(text, line, column).as_deref(), wanted, "{text}");
        }
        assert_eq!((place_of(TEXT, 0, 0), place_of(TEXT, 99, 1)), (None, None));
    }
}

//! The words of other programs, made fit to be shown to people: in a log line, on a page, in an event.

use std::error::Error;
use std::fmt::Display;

/// The text on one line, without control characters, cut after `chars_max` characters.
pub fn shown_text(text: impl Display, chars_max: usize) -> String {
    let text = text.to_string();
    let is_gap = |letter: char| letter.is_whitespace() || letter.is_control();
    let words = text.split(is_gap).filter(|word| !word.is_empty());
    let spaced = words.enumerate().flat_map(|(index, word)| (index > 0).then_some(' ').into_iter().chain(word.chars()));
    spaced.take(chars_max).collect()
}

/// The innermost cause of an error of a client: without the address, which the outer errors name. `None` if the error has no cause:
/// its own text may have the address in it.
pub fn innermost_cause(error: &dyn Error, chars_max: usize) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Some(shown_text(cause, chars_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with the causes that it is made of.
    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Nested {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn nested(text: &'static str, source: Option<Nested>) -> Nested {
        Nested { text, source: source.map(Box::new) }
    }

    #[test]
    fn what_a_server_says_is_shown_on_one_line_of_bounded_length() {
        assert_eq!(shown_text("  ERR\r\n\u{1b}[31mno\u{0}such\u{85}user\t", 100), "ERR [31mno such user");
        assert_eq!(shown_text("häßlich und lang", 7), "häßlich");
        assert_eq!(shown_text("\n\u{7}", 10), "");
        assert_eq!(shown_text("\u{1b}[31m\n".repeat(100_000), 600).chars().count(), 600);
    }

    #[test]
    fn the_cause_of_an_error_is_its_innermost_source_and_never_the_error_itself() {
        let refused = nested("connection\r\nrefused", None);
        let connect = nested("connect to hooks.example", Some(refused));
        let request = nested("error sending request for url (https://hooks.example/secret)", Some(connect));
        assert_eq!(innermost_cause(&request, 100).as_deref(), Some("connection refused"));
        assert_eq!(innermost_cause(&request, 10).as_deref(), Some("connection"));
        assert_eq!(innermost_cause(&nested("url (https://hooks.example/secret)", None), 100), None);
    }
}

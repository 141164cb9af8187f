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

/// The innermost cause of an error of a client: without the address, which the outer errors name.
pub fn innermost_cause(error: &dyn Error, chars_max: usize) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "no cause is known".to_owned(), |cause| shown_text(cause, chars_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_shown_on_one_line_of_bounded_length() {
        assert_eq!(shown_text("  ERR\r\n\u{1b}[31mno\u{0}such\u{85}user\t", 100), "ERR [31mno such user");
        assert_eq!(shown_text("häßlich und lang", 7), "häßlich");
        assert_eq!(shown_text("\n\u{7}", 10), "");
        assert_eq!(shown_text("\u{1b}[31m\n".repeat(100_000), 600).chars().count(), 600);
    }
}

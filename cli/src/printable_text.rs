//! Texts of the gateway, and so of providers and clients, on a terminal.

use built_in_catalogue::is_format;

/// False for a character that could move the terminal's cursor, colour it, or reorder or hide what is shown.
pub fn is_printable(character: char) -> bool {
    !character.is_control() && !is_format(character)
}

/// A text of several lines.
pub fn printable_text(text: &str) -> String {
    text.chars().filter(|character| is_printable(*character) || matches!(character, '\n' | '\t')).collect()
}

/// The beginning of a text, on one line.
pub fn printable_line(text: &str, chars_max: usize) -> String {
    text.chars().filter(|character| is_printable(*character)).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_or_reorder_its_text_is_left_out() {
        let hostile = "a\u{1b}[31mb\u{7}\nc\td\u{9b}\u{202e}e\u{2066}f\u{200b}g\u{feff}";
        assert_eq!(printable_text(hostile), "a[31mb\nc\tdefg");
        assert_eq!(printable_line(hostile, 9), "a[31mbcde");
    }
}

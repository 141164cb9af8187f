//! Texts of the gateway, and so of providers, on a terminal.

/// A text without characters that could move the terminal's cursor or colour it.
pub fn printable_text(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_is_left_out() {
        assert_eq!(printable_text("a\u{1b}[31mb\u{7}\nc\td\u{9b}"), "a[31mb\nc\td");
    }
}

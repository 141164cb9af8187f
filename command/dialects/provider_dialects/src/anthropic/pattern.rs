//! Regular expressions that Claude's structured outputs take.

/// Letters of classes that are taken behind a backslash, and of control characters.
const ESCAPES: &str = "dDwWsSnrt";
/// Longest number of a quantifier: ranges that are large are refused.
const QUANTIFIER_DIGITS_MAX: usize = 2;

/// True if a pattern has nothing that is refused: lookaround, references to groups, word boundaries, classes of Unicode and
/// large quantifiers. Source: <https://docs.claude.com/en/docs/build-with-claude/structured-outputs#pattern-support-regex>.
pub fn is_taken_pattern(pattern: &str) -> bool {
    let mut letters = pattern.chars().peekable();
    let mut digits = 0;
    while let Some(letter) = letters.next() {
        digits = if letter.is_ascii_digit() { digits + 1 } else { 0 };
        let is_taken = match letter {
            '\\' => letters.next().is_some_and(|next| next.is_ascii_punctuation() || ESCAPES.contains(next)),
            '(' => letters.peek() != Some(&'?'),
            '}' | ',' => true,
            _ => digits <= QUANTIFIER_DIGITS_MAX,
        };
        if !is_taken {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_simple_patterns_are_taken() {
        for pattern in ["", "^[a-z]+$", r"^\d{4}-\d{2}$", r"(a|b)*\.", r"[\w.+-]+@\w+"] {
            assert!(is_taken_pattern(pattern), "{pattern}");
        }
        for pattern in [
            "^(?=.*[A-Z]).+$", "(?!x)", "(?<=a)b", "(?<n>a)", "(?i)a", r"\bword\b", r"(a)\1", r"\k<n>", r"\p{L}",
            r"\u{1}", "a{1000}", "\\",
        ] {
            assert!(!is_taken_pattern(pattern), "{pattern}");
        }
    }
}

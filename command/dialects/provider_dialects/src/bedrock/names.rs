//! Names that Bedrock takes: of tools and their calls, and of documents.

use std::borrow::Cow;

/// Longest name of a tool.
const CHARS_MAX: usize = 64;
/// Longest name of a document.
const DOCUMENT_CHARS_MAX: usize = 200;

/// True if a tool may have this name: `[a-zA-Z0-9_-]{1,64}`.
pub fn is_tool_name(name: &str) -> bool {
    (1..=CHARS_MAX).contains(&name.len()) && name.chars().all(is_name_letter)
}

const fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// The name of a tool in an earlier call. A model may have called one that does not exist.
pub fn tool_name(name: &str) -> Cow<'_, str> {
    if is_tool_name(name) {
        return Cow::Borrowed(name);
    }
    let safe = name.chars().map(|letter| if is_name_letter(letter) { letter } else { '_' });
    let name: String = safe.take(CHARS_MAX).collect();
    if name.is_empty() { Cow::Borrowed("_") } else { name.into() }
}

/// The name of a request's document, of which each must have another: its title with `-` for letters that are not
/// allowed, and its number.
pub fn document_name(title: Option<&str>, number: usize) -> String {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '(' | ')' | '[' | ']');
    let title = title.unwrap_or_default().chars().take(DOCUMENT_CHARS_MAX - 24);
    let title: String = title
        .map(|letter| match letter {
            letter if is_allowed(letter) => letter,
            letter if letter.is_whitespace() => ' ',
            _ => '-',
        })
        .collect();
    // At most one space in a row.
    let words: Vec<&str> = title.split_whitespace().collect();
    match words.is_empty() {
        true => format!("Document {number}"),
        false => format!("{} {number}", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_letters_that_bedrock_takes() {
        assert_eq!(tool_name("a.b:c"), "a_b_c");
        assert_eq!(tool_name(&"é".repeat(64)), "_".repeat(64));
        assert!(is_tool_name("get-weather_1") && is_tool_name(&"x".repeat(64)));
        for name in ["", "a.b", "é", &"x".repeat(65)] {
            assert!(!is_tool_name(name), "{name}");
        }
    }

    #[test]
    fn documents_have_names_of_their_own() {
        for (title, wanted) in [
            (None, "Document 7"),
            (Some("  "), "Document 7"),
            (Some("Q3  report\n(final).pdf"), "Q3 report (final)-pdf 7"),
        ] {
            assert_eq!(document_name(title, 7), wanted);
        }
        assert!(document_name(Some(&"x".repeat(500)), usize::MAX).len() <= DOCUMENT_CHARS_MAX);
    }
}

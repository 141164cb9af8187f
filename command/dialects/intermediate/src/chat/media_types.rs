//! Media types and base64 in normal form: providers compare types with a list of their own, letter by letter.

use std::borrow::Cow;

use crate::work;

/// Names of types that clients write, and the registered ones.
///
/// - Anthropic takes `image/jpeg`, `image/png`, `image/gif`, `image/webp` and `application/pdf` alone
///   (<https://docs.claude.com/en/docs/build-with-claude/vision>).
/// - Gemini and Vertex AI take these, `image/heic` and `image/heif`
///   (<https://ai.google.dev/gemini-api/docs/image-understanding>).
/// - `image/jpg` is what clients make of the extension; `image/pjpeg` and `image/x-png` are those of old browsers.
const REGISTERED: [(&str, &str); 4] = [
    ("image/jpg", "image/jpeg"),
    ("image/pjpeg", "image/jpeg"),
    ("image/x-png", "image/png"),
    ("application/x-pdf", "application/pdf"),
];

/// A media type without its parameters, by its registered name. It has the client's capitals if it has no other name.
pub fn registered(media_type: &str) -> &str {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_it = |(alias, _): &&(&str, &str)| alias.eq_ignore_ascii_case(essence);
    REGISTERED.iter().find(is_it).map_or(essence, |(_, name)| name)
}

/// A media type in lower case, without its parameters, by its registered name.
pub fn normal_media_type(media_type: &str) -> String {
    registered(media_type).to_ascii_lowercase()
}

/// Base64 as RFC 4648 has it: in one line, with the letters of its first alphabet, and padded. What is no base64 stays what
/// it is.
pub fn normal_base64(base64: Cow<'_, str>) -> String {
    work::steps(base64.len());
    let bytes = base64.as_bytes();
    let has_breaks = memchr::memchr3(b'\n', b'\r', b' ', bytes).is_some() || memchr::memchr(b'\t', bytes).is_some();
    let has_url_letters = memchr::memchr2(b'-', b'_', bytes).is_some();
    if !has_breaks && !has_url_letters && bytes.len().is_multiple_of(4) {
        return base64.into_owned();
    }
    let standard = |letter: char| match letter {
        '-' => '+',
        '_' => '/',
        letter => letter,
    };
    let mut normal: String = base64.chars().filter(|letter| !letter.is_ascii_whitespace()).map(standard).collect();
    if matches!(normal.len() % 4, 2 | 3) && !normal.ends_with('=') {
        normal.push_str(if normal.len() % 4 == 2 { "==" } else { "=" });
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_the_registered_one_however_it_is_written() {
        for (written, wanted) in [
            ("image/jpg", "image/jpeg"),
            ("IMAGE/JPEG", "image/jpeg"),
            ("image/Jpg; q=1;charset=utf-8", "image/jpeg"),
            ("image/x-png ", "image/png"),
            ("image/webp", "image/webp"),
            ("Application/X-PDF", "application/pdf"),
            ("", ""),
        ] {
            assert_eq!(normal_media_type(written), wanted, "{written}");
        }
    }

    #[test]
    fn base64_is_one_line_with_its_padding() {
        for (written, wanted) in [
            ("YWJj", "YWJj"),
            ("YWJj\r\nYWI=\n", "YWJjYWI="),
            (" Y W\tI", "YWI="),
            ("YQ", "YQ=="),
            ("-_-_", "+/+/"),
            ("", ""),
            // What is none stays so.
            ("YWJjY", "YWJjY"),
            ("YQ=", "YQ="),
        ] {
            assert_eq!(normal_base64(written.into()), wanted, "{written}");
        }
    }
}

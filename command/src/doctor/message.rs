//! The provider's message about a request that it refused.

use dialects::{Redactor, refusal_words};

/// The most characters that are shown.
pub const SHOWN_CHARS_MAX: usize = 300;

/// The message in the body of an error, redacted; `None` if there is none, or nothing of it may be shown.
pub fn message_of(body: &[u8], redactor: &Redactor) -> Option<String> {
    let shown = refusal_words(body).redacted(redactor).message?;
    Some(match shown.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_every_dialect_and_has_no_key_in_it() {
        let redactor = Redactor::new(["sk-secret-0123456789abcdef"]);
        let said = |body: &str| message_of(body.as_bytes(), &redactor);
        for body in [
            r#"{"error":{"message":"wrong key"}}"#,
            r#"[{"error":{"message":"wrong key"}}]"#,
            r#"{"message":"wrong key"}"#,
            r#"{"error":"wrong key"}"#,
            r#"{"Message":"wrong key"}"#,
            r#"{"detail":"wrong key"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"wrong key"}]}"#,
            r#"{"error":{"message":"wrong key","request":{"messages":["it was cut"#,
        ] {
            assert_eq!(said(body).as_deref(), Some("wrong key"), "{body}");
        }
        for body in ["", "<html>no</html>", "{}", r#"{"error":{"code":7}}"#] {
            assert_eq!(said(body), None, "{body}");
        }
        let repeated = said(r#"{"error":{"message":"Incorrect API key provided: sk-secret-0123456789abcdef."}}"#);
        assert!(repeated.as_deref().is_some_and(|shown| !shown.contains("0123456789")), "{repeated:?}");
        let long = said(&format!(r#"{{"message":"{}"}}"#, "a ".repeat(4_000)));
        assert!(long.is_some_and(|shown| shown.chars().count() <= SHOWN_CHARS_MAX + 1));
    }
}

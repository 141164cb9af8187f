//! Fuzz target of what providers say about a refused request. See `docs/fuzzing.md`.

use dialects::Redactor;
use fuzzing::{Corpus, fuzz, shown, within_bounds};

use super::message::{SHOWN_CHARS_MAX, message_of};

const SECRET: &str = "canary-of-the-fuzzer-2c81";

const ERRORS: [&str; 4] = [
    r#"{"error":{"message":"Incorrect API key provided: canary-of-the-fuzzer-2c81. You can find yours at https://example.com","type":"invalid_request_error"}}"#,
    r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
    r#"{"message":"invalid api token canary-of-the-fuzzer-2c81"}"#,
    r#"{"detail":"Unauthorized","error":"canary-of-the-fuzzer-2c81"}"#,
];

#[test]
fn a_message_of_a_provider_is_one_short_line_without_the_key() {
    let redactor = Redactor::new([SECRET]);
    let corpus =
        Corpus::of(ERRORS.map(|error| error.as_bytes().to_vec())).knowing(&["error", "message", "Message", "detail"]);
    fuzz!(20_000, |dice| {
        let body = corpus.draw(dice);
        let said = within_bounds(&shown(&body), || message_of(&body, &redactor));
        if let Some(message) = said {
            assert!(!message.contains(SECRET), "{message}");
            assert!(message.chars().count() <= SHOWN_CHARS_MAX + 1 && !message.contains('\n'), "{message}");
        }
    });
}

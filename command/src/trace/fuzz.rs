//! Fuzz target of a client's trace context. See `docs/fuzzing.md`.

use fuzzing::{Corpus, fuzz};
use http::{HeaderMap, HeaderValue};

use super::TraceParent;

const SAMPLES: [&str; 3] = [
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
];

/// The specification, implemented again: four fields of lower-case hexadecimal, with ids that are not zero.
fn is_context(text: &str) -> bool {
    let fields: Vec<&str> = text.splitn(5, '-').collect();
    let is_hex = |field: &str, len: usize| {
        field.len() == len && field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let [version, trace, parent, flags, rest @ ..] = fields.as_slice() else { return false };
    is_hex(version, 2)
        && *version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && [trace, parent].iter().all(|id| id.bytes().any(|byte| byte != b'0'))
        && (rest.is_empty() || *version != "00")
}

#[test]
fn what_is_taken_for_a_context_is_one_and_goes_on_as_it_came() {
    let corpus = Corpus::of(SAMPLES.map(|sample| sample.as_bytes().to_vec()));
    fuzz!(8_000, |dice| {
        let mut value = corpus.draw(dice);
        if dice.one_in(2) && !value.is_empty() {
            let at = dice.below(value.len());
            value[at] = dice.text_of("0123456789abcdefAF-", 1).bytes().next().unwrap_or(b'0');
        }
        let Ok(header) = HeaderValue::try_from(value) else { return };
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), header.clone())]);
        let context = TraceParent::of(&headers);
        assert_eq!(context.is_some(), header.to_str().is_ok_and(is_context), "{header:?}");
        if let Some(context) = context {
            let text = header.to_str().unwrap_or_default();
            assert_eq!(context.header, header);
            assert_eq!(text.get(3..52), Some(&*format!("{}-{}", context.trace, context.parent)), "{text}");
        }
    });
}

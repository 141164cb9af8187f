//! Gemini.

use bytes::BytesMut;
use intermediate::UpstreamFault;
use provider_dialects::ProviderKind;
use serde_json::json;
use surfaces::Surface;

use crate::golden::minimal_request;
use crate::{Relay, read_whole};

#[test]
fn a_finish_reason_that_means_an_error_is_one() {
    let failed = UpstreamFault::InBandError { retryable: true };
    let used = json!({ "promptTokenCount": 3, "totalTokenCount": 3 });
    let content = json!({ "parts": [{ "text": "A" }] });
    let candidate = |reason: &str| json!({ "content": content, "finishReason": reason });
    for surface in [Surface::Anthropic, Surface::OpenAi, Surface::Completions] {
        for reason in ["MALFORMED_FUNCTION_CALL", "OTHER"] {
            let body = json!({ "candidates": [candidate(reason)], "usageMetadata": used }).to_string();
            let answer = read_whole(ProviderKind::Gemini, surface, body.clone().into());
            let answer = answer.err().expect("a failed answer");
            assert_eq!((answer.fault, answer.metered.has_report()), (failed.clone(), true), "{surface:?}");
            let mut relay = Relay::new(ProviderKind::Gemini, &minimal_request(surface, false), "req_1", "m", 0);
            let mut out = BytesMut::new();
            let fed = relay.feed(format!("data: {body}\n\n").as_bytes(), &mut out);
            assert_eq!(fed.and_then(|()| relay.finish(&mut out)), Err(failed.clone()), "{surface:?}");
            assert!(relay.metered().has_report());
        }
    }
    let two = json!({ "candidates": [candidate("STOP"), { "index": 1, "finishReason": "OTHER" }] });
    assert!(read_whole(ProviderKind::Gemini, Surface::OpenAi, two.to_string().into()).is_ok());
}

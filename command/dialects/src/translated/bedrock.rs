//! Amazon Bedrock.

use bytes::BytesMut;
use intermediate::{Metered, UpstreamFault};
use provider_dialects::ProviderKind;
use serde_json::{Value, json};
use surfaces::Surface;

use crate::golden::minimal_request;
use crate::{Relay, read_whole};

fn streamed(events: &[(&str, Value)]) -> (Result<(), UpstreamFault>, Metered) {
    let request = minimal_request(Surface::Anthropic, false);
    let mut relay = Relay::new(ProviderKind::Bedrock, &request, "req_1", "m", 0);
    let ended = events.iter().try_for_each(|(name, payload)| {
        let frame = testing::event_stream::frame(name.as_bytes(), payload.to_string().as_bytes());
        relay.feed(&frame, &mut BytesMut::new())
    });
    (ended, relay.metered())
}

fn piece(reasoning: Value) -> (&'static str, Value) {
    ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "reasoningContent": reasoning } }))
}

#[test]
fn thoughts_that_are_not_shown_are_not_free() {
    let hidden = "E".repeat(120_000);
    for (pieces, bytes) in [
        (vec![json!({ "signature": hidden })], 90_000),
        (vec![json!({ "redactedContent": hidden })], 90_000),
        // What can be read is in the signature once more.
        (vec![json!({ "text": "thought" }), json!({ "signature": hidden })], 7),
    ] {
        let metered = streamed(&pieces.into_iter().map(piece).collect::<Vec<_>>()).1.for_interrupted();
        assert_eq!(metered.reasoning_bytes, bytes);
    }
    for (kind, body) in [
        (
            ProviderKind::Bedrock,
            json!({ "output": { "message": { "content": [
                { "reasoningContent": { "reasoningText": { "text": "", "signature": hidden } } },
                { "reasoningContent": { "redactedContent": hidden } },
                { "reasoningContent": { "reasoningText": { "text": "thought", "signature": hidden } } },
            ] } }, "stopReason": "end_turn" }),
        ),
        (
            ProviderKind::Anthropic,
            json!({ "content": [
                { "type": "thinking", "thinking": "", "signature": hidden },
                { "type": "redacted_thinking", "data": hidden },
                { "type": "thinking", "thinking": "thought", "signature": hidden },
            ], "stop_reason": "end_turn" }),
        ),
    ] {
        for surface in [Surface::Native, Surface::Anthropic] {
            let answer = read_whole(kind, surface, body.to_string().into()).expect("an answer");
            assert_eq!(answer.metered.reasoning_bytes, 180_007, "{kind:?} {surface:?}");
        }
    }
}

#[test]
fn a_stop_reason_that_means_an_error_is_one() {
    let failed = UpstreamFault::InBandError { retryable: true };
    let usage = json!({ "inputTokens": 7, "outputTokens": 1, "totalTokens": 8 });
    let stop = json!({ "stopReason": "malformed_tool_use" });
    let (ended, metered) = streamed(&[("messageStop", stop), ("metadata", json!({ "usage": usage }))]);
    assert_eq!((ended, metered.reported().map(|tokens| tokens.input())), (Err(failed.clone()), Some(7)));
    let message = json!({ "content": [{ "text": "A" }] });
    let body = json!({ "output": { "message": message }, "stopReason": "malformed_model_output", "usage": usage });
    let answer = read_whole(ProviderKind::Bedrock, Surface::OpenAi, body.to_string().into()).err();
    let answer = answer.expect("a failed answer");
    assert_eq!((answer.fault, answer.metered.has_report()), (failed, true));
}

//! Anthropic's API.

use intermediate::Metered;
use provider_dialects::ProviderKind;
use surfaces::Surface;

use crate::Relay;
use crate::golden::minimal_request;

/// Returns the measurements of an Anthropic stream that broke off.
fn broken_off(events: &[&str]) -> Metered {
    let request = minimal_request(Surface::Anthropic, false);
    let mut relay = Relay::new(ProviderKind::Anthropic, &request, "req_1", "m", 0);
    for event in events {
        relay.feed(format!("data: {event}\n\n").as_bytes(), &mut bytes::BytesMut::new()).expect(event);
    }
    relay.metered()
}

#[test]
fn thoughts_that_are_not_shown_are_not_free_if_a_stream_breaks_off() {
    let hidden = "E".repeat(120_000);
    let signature = format!(r#"{{"type":"signature_delta","signature":"{hidden}"}}"#);
    let redacted = format!(r#"{{"type":"redacted_thinking","data":"{hidden}"}}"#);
    let metered = broken_off(&[
        r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":25,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        &format!(r#"{{"type":"content_block_delta","index":0,"delta":{signature}}}"#),
        r#"{"type":"content_block_stop","index":0}"#,
        &format!(r#"{{"type":"content_block_start","index":1,"content_block":{redacted}}}"#),
        r#"{"type":"content_block_stop","index":1}"#,
    ])
    .for_interrupted();
    assert_eq!(metered.reasoning_bytes, 2 * 90_000);
}

#[test]
fn a_block_may_end_while_a_later_one_is_open() {
    let metered = broken_off(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    ]);
    assert!(metered.text_bytes >= 4, "{metered:?}");
}

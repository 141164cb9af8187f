//! OpenAI's API.

use bytes::BytesMut;
use intermediate::{FinishReason, Metered, UpstreamFault};
use provider_dialects::ProviderKind;
use serde_json::{Value, json};
use surfaces::Surface;

use crate::golden::{minimal_request, receipt, usage};
use crate::{Relay, read_whole};

/// Surfaces that a response of this dialect is translated for.
const TRANSLATED: [Surface; 3] = [Surface::Native, Surface::Anthropic, Surface::Responses];

/// Returns the stream that a client gets of these chunks and of `[DONE]`.
fn streamed(surface: Surface, chunks: &[Value]) -> (Result<String, UpstreamFault>, Metered) {
    let (mut relay, mut out) =
        (Relay::new(ProviderKind::Openai, &minimal_request(surface, false), "req_1", "m", 0), BytesMut::new());
    let chunks = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>();
    let ended = relay.feed(format!("{chunks}data: [DONE]\n\n").as_bytes(), &mut out);
    let ended = ended.and_then(|()| relay.finish(&mut out));
    let metered = relay.metered();
    let usage = usage(&metered);
    let closing = relay.closing(&receipt(&usage, &metered));
    (ended.map(|()| format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&closing))), metered)
}

fn whole(surface: Surface, body: &Value) -> Result<(Value, Metered), UpstreamFault> {
    let answer = read_whole(ProviderKind::Openai, surface, body.to_string().into()).map_err(|failed| failed.fault)?;
    let usage = usage(&answer.metered);
    let body = answer.render(&receipt(&usage, &answer.metered));
    Ok((serde_json::from_slice(&body).expect("JSON"), answer.metered))
}

fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta }] })
}

fn end(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn message(message: Value, reason: &str) -> Value {
    json!({ "choices": [{ "message": message, "finish_reason": reason }] })
}

/// OpenAI ends a call of the tool that `tool_choice` names with `stop`.
#[test]
fn a_response_that_calls_a_tool_ends_with_tool_calls_though_the_upstream_says_stop() {
    let call = json!({ "index": 0, "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let calls = json!({ "tool_calls": [call] });
    for surface in TRANSLATED {
        let (stream, metered) = streamed(surface, &[delta(calls.clone()), end("stop")]);
        assert_eq!(metered.finish_reason, Some(FinishReason::ToolCalls), "{surface:?}");
        let (body, metered) = whole(surface, &message(calls.clone(), "stop")).expect("an answer");
        assert_eq!(metered.finish_reason, Some(FinishReason::ToolCalls), "{surface:?}");
        if surface == Surface::Anthropic {
            assert!(stream.expect("a stream").contains(r#""stop_reason":"tool_use""#));
            assert_eq!(body["stop_reason"], "tool_use");
        }
    }
    // Each choice for itself, and no other reason.
    let choice = |index: u64, message: &Value, reason: &str| json!({ "index": index, "message": message, "finish_reason": reason });
    let text = json!({ "content": "x" });
    let two = json!({ "choices": [choice(0, &text, "stop"), choice(1, &calls, "stop"), choice(2, &calls, "length")] });
    let (body, metered) = whole(Surface::Native, &two).expect("an answer");
    assert_eq!(metered.finish_reason, Some(FinishReason::Stop));
    let reasons: Vec<_> = [0, 1, 2].map(|at| body["choices"][at]["finish_reason"].clone()).into();
    assert_eq!(reasons, ["stop", "tool_calls", "length"]);
}

/// Some servers give the arguments as an object, and not as its text.
#[test]
fn arguments_that_are_an_object_are_passed_on_as_its_text() {
    let call = json!({ "id": "a", "function": { "name": "f", "arguments": { "x": 1 } } });
    let (body, metered) = whole(Surface::Native, &message(json!({ "tool_calls": [call] }), "tool_calls")).expect("one");
    assert_eq!((&body["output"][0]["arguments"], metered.text_bytes), (&json!({ "x": 1 }), 8), "{body}");
    let (stream, metered) = streamed(Surface::Anthropic, &[delta(json!({ "tool_calls": [call] })), end("tool_calls")]);
    assert!(stream.as_ref().is_ok_and(|stream| stream.contains(r#""partial_json":"{\"x\":1}""#)), "{stream:?}");
    assert_eq!(metered.text_bytes, 8);
}

/// Some servers always write the deprecated member.
#[test]
fn a_call_without_id_and_name_is_none() {
    let none = json!({ "name": "", "arguments": "" });
    let [deprecated, listed] =
        [json!({ "function_call": none }), json!({ "tool_calls": [{ "id": "", "function": none }] })];
    for (surface, mut text) in
        TRANSLATED.into_iter().flat_map(|surface| [(surface, deprecated.clone()), (surface, listed.clone())])
    {
        text["content"] = json!("hi");
        let (body, metered) = whole(surface, &message(text.clone(), "stop")).expect("an answer");
        assert_eq!((metered.finish_reason, metered.calls_tools), (Some(FinishReason::Stop), false), "{body}");
        assert!(!body.to_string().contains("call_id") && !body.to_string().contains("tool_"), "{body}");
        let (stream, metered) = streamed(surface, &[delta(text.clone()), end("stop")]);
        assert_eq!(metered.finish_reason, Some(FinishReason::Stop));
        let stream = stream.expect("a stream");
        assert!(!stream.contains("tool_use") && !stream.contains("function_call"), "{stream}");
    }
}

/// Without a word about the error, as OpenRouter and DeepSeek may end.
#[test]
fn a_finish_reason_that_means_an_error_is_one() {
    let failed = UpstreamFault::InBandError { retryable: true };
    let used = json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 1 } });
    for surface in [Surface::Anthropic, Surface::Completions] {
        for reason in ["error", "insufficient_system_resource"] {
            let (stream, metered) = streamed(surface, &[delta(json!({ "content": "A" })), end(reason), used.clone()]);
            assert_eq!(stream, Err(failed.clone()), "{surface:?}");
            // What it reported after the reason is charged.
            assert_eq!(metered.reported().map(|tokens| tokens.input()), Some(7));
            let body = message(json!({ "content": "A" }), reason);
            assert_eq!(whole(surface, &body).err(), Some(failed.clone()), "{surface:?}");
        }
    }
    // Another choice is good.
    let two = json!({ "choices": [
        { "index": 0, "message": { "content": "A" }, "finish_reason": "stop" },
        { "index": 1, "message": { "content": "" }, "finish_reason": "error" },
    ] });
    assert!(whole(Surface::Completions, &two).is_ok());
    let chunks = two["choices"].as_array().expect("choices").iter().map(|choice| {
        json!({ "choices": [{ "index": choice["index"], "delta": choice["message"], "finish_reason": choice["finish_reason"] }] })
    });
    assert!(streamed(Surface::Completions, &chunks.collect::<Vec<_>>()).0.is_ok());
    // A client that can be told so gets the rest.
    for surface in [Surface::Native, Surface::Responses] {
        assert!(whole(surface, &message(json!({ "content": "A" }), "error")).is_ok());
        assert!(streamed(surface, &[delta(json!({ "content": "A" })), end("error")]).0.is_ok());
    }
}

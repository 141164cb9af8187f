//! Bounds of a response and of a request: the largest value that fits, and the first that does not.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use events::refusal::ErrorCode;
use intermediate::chat::read::{BLOCKS_MAX, MESSAGES_MAX, TOOLS_MAX};
use serde_json::json;
use testing::event_stream::frame;

use super::golden::{MODEL, REQUEST_ID, minimal_request, receipt, usage};
use super::*;

const TOO_LARGE: Result<(), UpstreamFault> = Err(UpstreamFault::TooLarge);

fn whole(dialect: ProviderKind, surface: Surface, body: String) -> Result<(), UpstreamFault> {
    read_whole(dialect, surface, Bytes::from(body)).map(|_| ()).map_err(|failed| failed.fault)
}

fn streamed(dialect: ProviderKind, surface: Surface, events: &[String]) -> Result<String, UpstreamFault> {
    let request = minimal_request(surface, surface == Surface::OpenAi);
    let (mut relay, mut out) = (Relay::new(dialect, &request, REQUEST_ID, MODEL, 0), BytesMut::new());
    for event in events {
        relay.feed(format!("data: {event}\n\n").as_bytes(), &mut out)?;
    }
    let metered = relay.metered();
    out.extend_from_slice(&relay.closing(&receipt(&usage(&metered), &metered)));
    Ok(String::from_utf8(out.to_vec()).expect("text"))
}

fn repeated(item: &str, count: usize) -> String {
    vec![item; count].join(",")
}

#[test]
fn a_name_or_an_id_of_a_call_has_256_characters_at_most() {
    for (characters, taken) in [(256, Ok(())), (257, TOO_LARGE)] {
        let long = "é".repeat(characters);
        for (id, name) in [(long.as_str(), "f"), ("c", long.as_str())] {
            let call = json!({ "id": id, "function": { "name": name, "arguments": "{}" } });
            let answer = json!({ "choices": [{ "message": { "tool_calls": [call] } }] }).to_string();
            let chunk = answer.replace("message", "delta");
            assert_eq!(whole(ProviderKind::Openai, Surface::Native, answer.clone()), taken);
            assert_eq!(streamed(ProviderKind::Openai, Surface::Native, std::slice::from_ref(&chunk)).map(drop), taken);
            // A response that does not repeat the name goes through unchanged.
            assert_eq!(whole(ProviderKind::Openai, Surface::OpenAi, answer), Ok(()));
            assert!(streamed(ProviderKind::Openai, Surface::OpenAi, &[chunk]).is_ok_and(|out| out.contains(&long)));
            let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
            let begin = json!({ "type": "content_block_start", "index": 0, "content_block": block }).to_string();
            for surface in Surface::CHAT.iter().copied() {
                let message = json!({ "content": [block] }).to_string();
                assert_eq!(whole(ProviderKind::Anthropic, surface, message), taken);
                assert_eq!(streamed(ProviderKind::Anthropic, surface, std::slice::from_ref(&begin)).map(drop), taken);
            }
        }
    }
}

#[test]
fn an_answer_has_1024_blocks_at_most_and_an_event_as_many_pieces() {
    for (count, taken) in [(1024, Ok(())), (1025, TOO_LARGE)] {
        let parts = repeated(r#"{"type":"text","text":"x"}"#, count);
        let answer = format!(r#"{{"choices":[{{"message":{{"content":[{parts}]}}}}]}}"#);
        assert_eq!(whole(ProviderKind::Openai, Surface::Native, answer.clone()), taken);
        assert_eq!(whole(ProviderKind::Openai, Surface::OpenAi, answer.clone()), Ok(()));
        let chunk = [answer.replace("message", "delta")];
        assert_eq!(streamed(ProviderKind::Openai, Surface::Native, &chunk).map(drop), taken);
        assert!(streamed(ProviderKind::Openai, Surface::OpenAi, &chunk).is_ok());
        assert_eq!(whole(ProviderKind::Anthropic, Surface::OpenAi, format!(r#"{{"content":[{parts}]}}"#)), taken);
    }
}

#[test]
fn a_stream_has_1024_calls_or_blocks_at_most_however_many_events_they_come_in() {
    for (count, taken) in [(1024, Ok(())), (1025, TOO_LARGE)] {
        let calls: Vec<String> = (0..count)
            .map(|number| json!({ "id": format!("c{number}"), "function": { "name": "f", "arguments": "{}" } }))
            .map(|call| json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }).to_string())
            .collect();
        assert_eq!(streamed(ProviderKind::Openai, Surface::Native, &calls).map(drop), taken);
        let block = |block: serde_json::Value| {
            json!({ "type": "content_block_start", "index": 0, "content_block": block }).to_string()
        };
        for block in [
            block(json!({ "type": "text", "text": "x" })),
            block(json!({ "type": "tool_use", "id": "c", "name": "f", "input": {} })),
        ] {
            // Responses repeats so much of each block that such a stream is too large before.
            for surface in Surface::CHAT.iter().copied().filter(|surface| *surface != Surface::Responses) {
                let stream = vec![block.clone(); count];
                assert_eq!(streamed(ProviderKind::Anthropic, surface, &stream).map(drop), taken);
            }
        }
    }
}

#[test]
fn an_answer_of_bedrock_has_the_same_bounds() {
    let message = |content: String| format!(r#"{{"output":{{"message":{{"content":[{content}]}}}}}}"#);
    let stream = |frames: Vec<u8>| {
        let request = minimal_request(Surface::Native, false);
        Relay::new(ProviderKind::Bedrock, &request, REQUEST_ID, MODEL, 0).feed(&frames, &mut BytesMut::new())
    };
    for (characters, taken) in [(256, Ok(())), (257, TOO_LARGE)] {
        let long = "é".repeat(characters);
        for (id, name) in [(long.as_str(), "f"), ("c", long.as_str())] {
            let call = json!({ "toolUse": { "toolUseId": id, "name": name, "input": {} } });
            assert_eq!(whole(ProviderKind::Bedrock, Surface::Native, message(call.to_string())), taken);
            let start = json!({ "contentBlockIndex": 0, "start": call }).to_string();
            assert_eq!(stream(frame(b"contentBlockStart", start.as_bytes())), taken);
        }
    }
    for (count, taken) in [(1024, Ok(())), (1025, TOO_LARGE)] {
        let texts = message(repeated(r#"{"text":"x"}"#, count));
        assert_eq!(whole(ProviderKind::Bedrock, Surface::Native, texts), taken);
        let piece =
            |number: usize| json!({ "contentBlockIndex": number, "delta": { "text": "x" } }).to_string().into_bytes();
        let call = |number: usize| {
            let start = json!({ "toolUse": { "toolUseId": "c", "name": "f" } });
            json!({ "contentBlockIndex": number, "start": start }).to_string().into_bytes()
        };
        assert_eq!(stream((0..count).flat_map(|at| frame(b"contentBlockDelta", &piece(at))).collect()), taken);
        assert_eq!(stream((0..count).flat_map(|at| frame(b"contentBlockStart", &call(at))).collect()), taken);
    }
}

#[test]
fn choices_that_no_client_can_ask_for_are_a_fault_and_not_left_uncounted() {
    for (count, taken) in [(128, Ok(())), (129, TOO_LARGE)] {
        let answer = format!(r#"{{"choices":[{}]}}"#, repeated(r#"{"message":{"content":"x"}}"#, count));
        for surface in Surface::CHAT.iter().copied() {
            assert_eq!(whole(ProviderKind::Openai, surface, answer.clone()), taken);
            let chunk = [answer.replace("message", "delta")];
            assert_eq!(streamed(ProviderKind::Openai, surface, &chunk).map(drop), taken);
        }
    }
}

#[test]
fn what_is_read_by_its_names_has_256_of_them_at_most() {
    for (count, taken) in [(255, Ok(())), (256, TOO_LARGE)] {
        let more = repeated(r#""x":1"#, count);
        for answer in [
            format!(r#"{{{more},"choices":[{{"message":{{"content":"x"}}}}]}}"#),
            format!(r#"{{"choices":[{{{more},"message":{{"content":"x"}}}}]}}"#),
            format!(r#"{{"choices":[{{"message":{{{more},"content":"x"}}}}]}}"#),
        ] {
            for surface in Surface::CHAT.iter().copied() {
                assert_eq!(whole(ProviderKind::Openai, surface, answer.clone()), taken, "{answer:.100}");
            }
        }
        for message in [format!(r#"{{{more},"content":[]}}"#), format!(r#"{{"content":[{{{more},"type":"text"}}]}}"#)] {
            assert_eq!(whole(ProviderKind::Anthropic, Surface::Native, message.clone()), taken, "{message:.100}");
        }
    }
}

#[test]
fn a_stream_becomes_16_bytes_a_byte_at_most() {
    // A name that is long once escaped, and is repeated with each piece.
    let name = "\u{1}".repeat(256);
    let call = json!({ "id": name, "function": { "name": name } });
    let mut events = vec![json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }).to_string()];
    events.resize(2000, r#"{"choices":[{"delta":{"function_call":{"arguments":"1"}}}]}"#.to_owned());
    let (mut relay, mut out) = (
        Relay::new(ProviderKind::Openai, &minimal_request(Surface::Native, false), REQUEST_ID, MODEL, 0),
        BytesMut::new(),
    );
    let (mut bytes_in, mut fault) = (0, Ok(()));
    for event in &events {
        let event = format!("data: {event}\n\n");
        bytes_in += event.len();
        fault = relay.feed(event.as_bytes(), &mut out);
        if fault.is_err() {
            break;
        }
    }
    assert_eq!(fault, TOO_LARGE);
    assert!(out.len() > 64 * 1024 && out.len() < 70 * 1024 + 16 * bytes_in, "{} of {bytes_in}", out.len());
}

#[test]
fn a_response_that_is_repeated_is_as_long_as_an_event_at_most() {
    let piece = "x".repeat(EVENT_BYTES_MAX / 8 - 1024);
    let chunk = json!({ "choices": [{ "delta": { "content": piece } }] }).to_string();
    let request = minimal_request(Surface::Responses, false);
    let mut relay = Relay::new(ProviderKind::Openai, &request, REQUEST_ID, MODEL, 0);
    for number in 1..10 {
        let fed = relay.feed(format!("data: {chunk}\n\n").as_bytes(), &mut BytesMut::new());
        if number == 9 {
            assert_eq!(fed, TOO_LARGE);
        } else {
            // The memory that the pipeline counts for a stream: what is kept, and the end that repeats it four times.
            let (counted, metered) = (relay.buffered_bytes(), relay.metered());
            let end = relay.closing(&receipt(&usage(&metered), &metered)).len();
            assert!(fed == Ok(()) && end > 4 * number * piece.len(), "{number}: {end} bytes");
            assert!(counted + 1024 > number * piece.len() + end && counted < end + number * piece.len() + 4096);
        }
    }
}

#[test]
fn what_waits_for_a_call_is_as_long_as_an_event_at_most() {
    let chunk = |delta: serde_json::Value| json!({ "choices": [{ "delta": delta }] }).to_string();
    let call = json!({ "index": 0, "id": "c", "function": { "name": "f", "arguments": "{" } });
    let piece = "x".repeat(EVENT_BYTES_MAX / 8 - 1024);
    for (delta, held_max) in [(json!({ "content": piece }), 8), (json!({ "reasoning_content": piece }), 8)] {
        let request = minimal_request(Surface::Anthropic, false);
        let mut relay = Relay::new(ProviderKind::Openai, &request, REQUEST_ID, MODEL, 0);
        let feed = |relay: &mut Relay, chunk: &str| {
            let mut out = BytesMut::new();
            relay.feed(format!("data: {chunk}\n\n").as_bytes(), &mut out).map(|()| out.len())
        };
        assert!(feed(&mut relay, &chunk(json!({ "tool_calls": [call] }))).is_ok_and(|written| written > 0));
        for number in 1..=held_max {
            assert_eq!(feed(&mut relay, &chunk(delta.clone())), Ok(0));
            let (counted, metered) = (relay.buffered_bytes(), relay.metered());
            let end = relay.closing(&receipt(&usage(&metered), &metered)).len();
            // The memory that the pipeline counts: what is held, and its events.
            assert!(end > number * piece.len() && counted + 1024 > number * piece.len() + end, "{counted} {end}");
        }
        assert_eq!(feed(&mut relay, &chunk(delta)), Err(UpstreamFault::TooLarge));
    }
}

/// Holds: inf.openai-stream
#[test]
fn a_usage_chunk_that_is_too_long_to_be_kept_is_written_anew() {
    let content = r#"{"id":"chatcmpl-1","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#.to_owned();
    for (bytes, is_kept) in [(1000, true), (100_000, false)] {
        let padding = "x".repeat(bytes);
        let report = r#""usage":{"prompt_tokens":3,"completion_tokens":2}"#;
        let chunk = format!(r#"{{"choices":[],{report},"padding":"{padding}"}}"#);
        let out = streamed(ProviderKind::Openai, Surface::OpenAi, &[content.clone(), chunk]).expect("a stream");
        assert_eq!(out.contains(&padding), is_kept);
        assert!(out.contains(r#""choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2"#), "{out:.500}");
    }
}

#[test]
fn a_request_has_so_many_parts_and_tools_at_most() {
    let capped = |body: String| body.replacen('{', "{\"max_tokens\":7,", 1);
    let parse = |surface, body: String| match ClientRequest::parse(
        surface,
        if surface == Surface::Anthropic { capped(body) } else { body }.into(),
    ) {
        Ok(_) => None,
        Err(refusal) => Some((refusal.code, refusal.details["field"].as_str().unwrap_or_default().to_owned())),
    };
    let refused = |field: &str| Some((ErrorCode::InvalidRequest, field.to_owned()));
    for (surface, tool) in [
        (Surface::Native, r#"{"name":"f"}"#),
        (Surface::OpenAi, r#"{"type":"function","function":{"name":"f"}}"#),
        (Surface::Anthropic, r#"{"name":"f","input_schema":{}}"#),
    ] {
        for (count, wanted) in [(BLOCKS_MAX, None), (BLOCKS_MAX + 1, refused("messages"))] {
            let mut messages = String::new();
            for message in [BLOCKS_MAX / 2, count - BLOCKS_MAX / 2] {
                let parts = repeated(r#"{"type":"text","text":"x"}"#, message);
                let _ = write!(messages, r#"{{"role":"user","content":[{parts}]}},"#);
            }
            let messages = messages.trim_end_matches(',');
            assert_eq!(parse(surface, format!(r#"{{"model":"m","messages":[{messages}]}}"#)), wanted);
        }
        for (count, wanted) in [(TOOLS_MAX, None), (TOOLS_MAX + 1, refused("tools"))] {
            let tools = repeated(tool, count);
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{tools}]}}"#);
            assert_eq!(parse(surface, body), wanted);
        }
    }
    for (count, wanted) in [(BLOCKS_MAX, None), (BLOCKS_MAX + 1, refused("messages"))] {
        let calls = repeated(r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}"#, count);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{calls}]}}]}}"#);
        assert_eq!(parse(Surface::OpenAi, body), wanted);
    }
    for (count, wanted) in [(BLOCKS_MAX, None), (BLOCKS_MAX + 1, refused("input"))] {
        let parts = repeated(r#"{"type":"input_text","text":"x"}"#, count);
        let body = format!(r#"{{"model":"m","input":[{{"role":"user","content":[{parts}]}}]}}"#);
        assert_eq!(parse(Surface::Responses, body), wanted);
    }
    for (count, wanted) in [(MESSAGES_MAX, None), (MESSAGES_MAX + 1, refused("input"))] {
        let items = repeated(r#"{"role":"assistant","content":"x"}"#, count);
        assert_eq!(parse(Surface::Responses, format!(r#"{{"model":"m","input":[{items}]}}"#)), wanted);
    }
    for (count, wanted) in [(TOOLS_MAX, None), (TOOLS_MAX + 1, refused("tools"))] {
        let tools = repeated(r#"{"type":"function","name":"f"}"#, count);
        assert_eq!(parse(Surface::Responses, format!(r#"{{"model":"m","input":"x","tools":[{tools}]}}"#)), wanted);
    }
    let results = repeated(r#"{"type":"text","text":"x"}"#, BLOCKS_MAX);
    let result = format!(r#"{{"type":"tool_result","id":"a","content":[{results}]}}"#);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"tool","content":[{result}]}}]}}"#);
    assert_eq!(parse(Surface::Native, body), refused("messages"));
}

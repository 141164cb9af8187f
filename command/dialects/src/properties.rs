//! Properties of everything that reads untrusted input.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use testing::event_stream::frame;

use super::fuzz::DIALECTS;
use super::*;

const SURFACES: &[Surface] = Surface::CHAT;

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,16}"
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A near request: right names, sometimes wrong values.
fn near_request() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens",
        "n", "metadata", "tools", "tool_choice", "stop", "response_format", "temperature", "reasoning", "user",
        "system", "thinking", "output_config", "stop_sequences", "cache_control", "instructions", "text", "include",
        "top_logprobs", "echo", "best_of",
    ]);
    let block = prop::collection::btree_map(
        prop::sample::select(vec![
            "type", "text", "image_url", "id", "name", "arguments", "content", "url", "data", "call_id", "output",
            "summary", "encrypted_content", "file_data",
        ]),
        prop_oneof![
            prop::sample::select(vec![
                "text", "image_url", "image", "tool_call", "data:image/png;base64,AA", "input_text", "output_text",
                "function_call", "function_call_output", "reasoning", "ledgerway.call.1.", "ledgerway.signature.x",
            ])
            .prop_map(Value::from),
            any_json(),
        ],
        0..4,
    )
    .prop_map(object);
    let content = prop_oneof![text().prop_map(Value::from), prop::collection::vec(block, 0..4).prop_map(Value::from)];
    let role = prop::sample::select(vec!["system", "user", "assistant", "tool", "developer"]);
    let message = (role, content).prop_map(|(role, content)| json!({"role": role, "content": content}));
    let messages = prop::collection::vec(message, 0..4).prop_map(Value::from);
    let place = prop::sample::select(vec!["messages", "messages", "input", "prompt"]);
    (prop::collection::btree_map(field, any_json(), 0..4), place, messages).prop_map(|(mut fields, place, messages)| {
        fields.entry("model").or_insert(json!("m"));
        fields.entry(place).or_insert(messages);
        // Without a cap, Anthropic's surface reads no further.
        if fields.get("max_tokens").is_none_or(|cap| !cap.is_boolean()) {
            fields.insert("max_tokens", json!(7));
        }
        if let Some(system) = fields.get_mut("system").filter(|system| system.is_number()) {
            *system = system_prompt(system);
        }
        object(fields)
    })
}

/// A system prompt in one of its forms.
fn system_prompt(number: &Value) -> Value {
    match number.as_i64().unwrap_or(0).rem_euclid(4) {
        0 => json!(""),
        1 => json!("be brief"),
        2 => json!([]),
        _ => json!([{"type": "text", "text": "be brief"}]),
    }
}

fn object<K: Into<String>>(fields: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map<_, _>>())
}

/// A provider may allow this field, so that requests with it go through.
static ALL_FIELDS: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| surfaces::unpriced_fields().map(str::to_owned).collect());

fn target(prefix: Option<&str>) -> OutboundTarget<'_> {
    OutboundTarget {
        model: "back\"end",
        output_cap: UpstreamCap { tokens: 77, field: None },
        context_window: None,
        system_prefix: prefix,
        allowed_fields: &ALL_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    }
}

/// Reads the bytes in every place that takes any. Accepted requests must give bodies that are JSON.
fn read_everywhere(body: &Bytes) {
    for &surface in SURFACES {
        if let Ok(request) = ClientRequest::parse(surface, body.clone()) {
            assert!(request.input_tokens_bound() > 0 && (1..=128).contains(&request.facts.choices));
            for dialect in DIALECTS {
                let refused = RefusedParameter::ALL.iter().copied().collect();
                for refused in [RefusedParameters::NONE, refused] {
                    let target = OutboundTarget { refused, ..target(Some("p")) };
                    if let Ok(body) = request.upstream_body(dialect, &target) {
                        serde_json::from_slice::<Value>(&body).expect("an upstream body is JSON");
                    }
                }
            }
            for server in Server::ALL {
                let target = OutboundTarget { server: Some(*server), ..target(Some("p")) };
                if let Ok(body) = request.upstream_body(ProviderKind::Openai, &target) {
                    serde_json::from_slice::<Value>(&body).expect("an upstream body is JSON");
                }
            }
        }
        for dialect in DIALECTS {
            let _ = read_whole(dialect, surface, body.clone());
        }
    }
    let headers = http::HeaderMap::new();
    let _ = read_refusal(ProviderKind::Anthropic, 429, &headers, body, chrono::DateTime::UNIX_EPOCH);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_everywhere(&bytes.into());
    }

    #[test]
    fn arbitrary_json_is_read_without_panic(value in any_json()) {
        read_everywhere(&value.to_string().into());
    }

    #[test]
    fn what_is_near_a_request_is_read_without_panic(value in near_request()) {
        read_everywhere(&value.to_string().into());
    }

    #[test]
    fn half_a_request_is_refused(value in near_request(), cut in any::<prop::sample::Index>()) {
        let text = value.to_string();
        let cut = 1 + cut.index(text.len() - 1);
        let end = (1..=cut).rev().find(|at| *at < text.len() && text.is_char_boundary(*at));
        if let Some(end) = end {
            for &surface in SURFACES {
                prop_assert!(ClientRequest::parse(surface, Bytes::copy_from_slice(&text.as_bytes()[..end])).is_err());
            }
        }
    }

    /// Holds: http.fields-passed-on
    #[test]
    fn an_edited_body_differs_in_the_edited_keys_alone(
        value in near_request(), pretty in any::<bool>(), prefix in prop::option::of(text()),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let Ok(request) = ClientRequest::parse(Surface::OpenAi, text.into()) else { return Ok(()) };
        let body = request.upstream_body(ProviderKind::Openai, &target(prefix.as_deref())).unwrap();
        let mut wanted = value;
        wanted["model"] = json!("back\"end");
        let name = if wanted["max_completion_tokens"].is_u64() { "max_completion_tokens" } else { "max_tokens" };
        if wanted["max_completion_tokens"].is_null() && wanted["max_tokens"].is_null()
            && wanted.as_object_mut().unwrap().remove("max_completion_tokens").is_some()
            && wanted.get("max_tokens").is_some()
        {
            // Both names with null: the first in the text becomes the cap, the other stays null.
            wanted["max_completion_tokens"] = Value::Null;
            return Ok(());
        }
        wanted[name] = json!(77);
        if request.facts.streamed {
            if !wanted["stream_options"].is_object() {
                wanted["stream_options"] = json!({});
            }
            wanted["stream_options"]["include_usage"] = json!(true);
        }
        if let Some(prefix) = prefix {
            wanted["messages"].as_array_mut().unwrap().insert(0, json!({"role": "system", "content": prefix}));
        }
        let wanted = without_indexing_nulls(wanted);
        prop_assert_eq!(without_indexing_nulls(serde_json::from_slice(&body).unwrap()), wanted);
    }

    /// Holds: inf.anthropic-passed-on
    #[test]
    fn a_body_for_anthropic_differs_in_model_cap_and_system_alone(
        value in near_request(), pretty in any::<bool>(), prefix in prop::option::of("[^\u{0}]{1,16}"),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let Ok(request) = ClientRequest::parse(Surface::Anthropic, text.into()) else { return Ok(()) };
        let body = request.upstream_body(ProviderKind::Anthropic, &target(prefix.as_deref())).unwrap();
        let mut wanted = value;
        wanted["model"] = json!("back\"end");
        wanted["max_tokens"] = json!(77);
        if let Some(prefix) = prefix {
            match &mut wanted["system"] {
                Value::Array(blocks) => blocks.insert(0, json!({"type": "text", "text": prefix})),
                Value::String(text) if !text.is_empty() => text.insert_str(0, &format!("{prefix}\n\n")),
                system => *system = json!(prefix),
            }
        }
        let found: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(without_indexing_nulls(found), without_indexing_nulls(wanted));
    }

    #[test]
    fn arbitrary_streams_are_relayed_without_panic(
        events in prop::collection::vec(prop_oneof![any_json(), near_chunk()], 0..6),
        cut in 0..64_usize,
    ) {
        let stream_of = |each: fn(&Value) -> Vec<u8>| {
            let mut stream: Vec<u8> = events.iter().flat_map(each).collect();
            stream.truncate(stream.len().saturating_sub(cut));
            stream
        };
        let in_events = stream_of(|event| format!("data: {event}\n\n").into_bytes());
        let in_frames = stream_of(|event| frame(b"contentBlockDelta", event.to_string().as_bytes()));
        for &surface in SURFACES {
            let request = golden::minimal_request(surface, false);
            for dialect in DIALECTS {
                let (mut relay, mut out) = (Relay::new(dialect, &request, "req_1", "m", 0), BytesMut::new());
                let stream = if dialect == ProviderKind::Bedrock { &in_frames } else { &in_events };
                let _ = relay.feed(stream, &mut out).and_then(|()| relay.finish(&mut out));
                prop_assert!(std::str::from_utf8(&out).is_ok());
            }
        }
    }
}

/// Drops null members, which read like absent ones.
fn without_indexing_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

fn near_chunk() -> impl Strategy<Value = Value> {
    let delta = prop::collection::btree_map(
        prop::sample::select(vec![
            "content", "reasoning", "refusal", "role", "tool_calls", "type", "text", "partial_json", "toolUse",
            "reasoningContent",
        ]),
        any_json(),
        0..4,
    )
    .prop_map(object);
    let kind = prop::sample::select(vec![
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "ping",
    ]);
    (delta, kind, any_json(), any_json()).prop_map(|(delta, kind, usage, index)| {
        json!({"type": kind, "index": index, "delta": delta, "content_block": delta, "usage": usage,
               "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "model": "x"})
    })
}

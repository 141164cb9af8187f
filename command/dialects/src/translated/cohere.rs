//! Cohere.

use events::refused_parameters::RefusedParameters;
use provider_dialects::{NO_FIELDS, OutboundTarget, ProviderKind, UpstreamCap};
use serde_json::{Value, json};
use surfaces::Surface;

use crate::ClientRequest;

/// The body for Cohere of a request with these fields, or the field that is refused.
fn sent(fields: Value) -> Result<Value, String> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let target = OutboundTarget {
        model: "command",
        output_cap: UpstreamCap { tokens: 9, field: None },
        context_window: None,
        system_prefix: None,
        allowed_fields: &NO_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    };
    let request = ClientRequest::parse(Surface::OpenAi, body.to_string().into()).expect("a request");
    let sent = request.upstream_body(ProviderKind::Cohere, &target);
    sent.map(|body| serde_json::from_slice(&body).unwrap())
        .map_err(|refusal| refusal.details["field"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn sampling_has_coheres_names_and_ranges() {
    let given = json!({"top_p": 1, "stop": "x", "seed": 7, "temperature": 0.30, "frequency_penalty": 1.0});
    let wanted = json!({"p": 0.99, "stop_sequences": ["x"], "seed": 7, "temperature": 0.30, "frequency_penalty": 1.0});
    let sent_body = sent(given).unwrap();
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(sent_body[name], *value, "{name}");
    }
    for (given, p) in [(json!(0), json!(0.01)), (json!(0.5), json!(0.5)), (json!(0.995), json!(0.99))] {
        assert_eq!(sent(json!({"top_p": given})).unwrap()["p"], p);
    }
    for (field, value) in [("frequency_penalty", json!(-0.5)), ("presence_penalty", json!(1.5))] {
        assert_eq!(sent(json!({field: value})), Err(field.to_owned()));
    }
}

#[test]
fn a_named_tool_is_the_only_one_that_is_sent() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "strict": name == "b"}});
    let tools = json!([tool("a"), tool("b")]);
    for (choice, names, sent_choice, strict) in [
        (json!({"type": "function", "function": {"name": "b"}}), vec!["b"], json!("REQUIRED"), json!(true)),
        (json!({"type": "function", "function": {"name": "a"}}), vec!["a"], json!("REQUIRED"), Value::Null),
        (json!("required"), vec!["a", "b"], json!("REQUIRED"), json!(true)),
        (json!("none"), vec!["a", "b"], json!("NONE"), json!(true)),
        (json!("auto"), vec!["a", "b"], Value::Null, json!(true)),
    ] {
        let body = sent(json!({"tools": tools, "tool_choice": choice})).unwrap();
        let found: Vec<_> = body["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
        assert_eq!(
            (found, &body["tool_choice"], &body["strict_tools"]),
            (names.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect(), &sent_choice, &strict),
            "{choice}"
        );
    }
    let unknown = json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "c"}}});
    assert_eq!(sent(unknown), Err("tool_choice".to_owned()));
}

#[test]
fn what_is_said_before_calls_is_their_plan() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{oops"}});
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "said", "reasoning_content": "thought", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "result"},
        {"role": "assistant", "content": "answer", "reasoning_content": "thought"},
        {"role": "assistant", "content": "plain"},
        {"role": "user", "content": "on"},
    ]);
    let wanted = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_plan": "thought\nsaid", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"arguments_raw\":\"{oops\"}"}}
        ]},
        {"role": "tool", "content": "result", "tool_call_id": "c1"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "thought"}, {"type": "text", "text": "answer"}
        ]},
        {"role": "assistant", "content": "plain"},
        {"role": "user", "content": "on"},
    ]);
    assert_eq!(sent(json!({"messages": messages})).unwrap()["messages"], wanted);
}

#[test]
fn thinking_has_a_switch_and_a_budget() {
    for (given, wanted) in [
        (json!({"reasoning_effort": "none"}), json!({"type": "disabled"})),
        (json!({"reasoning_effort": "low"}), json!({"type": "enabled"})),
        (json!({"reasoning": {"max_tokens": 500}}), json!({"type": "enabled", "token_budget": 500})),
        (json!({}), Value::Null),
    ] {
        assert_eq!(sent(given).unwrap()["thinking"], wanted);
    }
}

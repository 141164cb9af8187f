//! Reasoning and tool calls go back to their upstream unchanged, through a native client that keeps the blocks it got.

use bytes::{Bytes, BytesMut};
use events::refused_parameters::RefusedParameters;
use intermediate::chat::{AnswerChoice, Block, OutputBlock, ToolCall};
use serde_json::{Value, json};
use surfaces::ParsedRequest;

use super::golden::{CREATED, MODEL, REQUEST_ID, receipt, usage, wire};
use super::*;

fn stored(name: &str) -> Bytes {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    std::fs::read(path).expect("a golden file").into()
}

/// The upstream's body of the next request of a client that got these blocks.
fn sent_back(output: &Value, dialect: ProviderKind) -> Value {
    let result = json!([{"type": "tool_result", "id": "toolu_1", "content": "12 degrees"}]);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "weather?"},
        {"role": "assistant", "content": output}, {"role": "tool", "content": result}],
        "tools": [{"name": "get_weather"}]});
    let request = ClientRequest::parse(Surface::Native, body.to_string().into()).unwrap();
    let target = OutboundTarget {
        // Bedrock sends what a model takes.
        model: "anthropic.m",
        output_cap: UpstreamCap { tokens: 9, field: None },
        context_window: None,
        system_prefix: None,
        allowed_fields: &provider_dialects::NO_FIELDS,
        // Of OpenAI's dialect, the one that takes signatures.
        server: Some(provider_dialects::Server::Gemini),
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    };
    let body: Value = serde_json::from_slice(&request.upstream_body(dialect, &target).unwrap()).unwrap();
    body["messages"][1].clone()
}

fn native_output(dialect: ProviderKind, body: Bytes) -> Value {
    let answer = read_whole(dialect, Surface::Native, body).unwrap();
    let usage = usage(&answer.metered);
    let rendered: Value = serde_json::from_slice(&answer.render(&receipt(&usage, &answer.metered))).unwrap();
    rendered["output"].clone()
}

/// Assembles the blocks from the events, as a client does.
fn streamed_output(dialect: ProviderKind, body: &Bytes) -> Value {
    let request = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let request = ClientRequest::parse(Surface::Native, request.to_string().into()).unwrap();
    let (mut relay, mut out) = (Relay::new(dialect, &request, REQUEST_ID, MODEL, CREATED), BytesMut::new());
    relay.feed(body, &mut out).unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    let mut blocks: Vec<Value> = Vec::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        let index = usize::try_from(event["index"].as_u64().unwrap()).unwrap();
        if blocks.len() == index {
            blocks.push(match event.get("name") {
                Some(name) => json!({"type": "tool_call", "id": event["id"], "name": name, "arguments_raw": ""}),
                None => json!({"type": event["type"], "text": ""}),
            });
        }
        for (from, to) in [("text", "text"), ("arguments_delta", "arguments_raw")] {
            if let Some(piece) = event.get(from).and_then(Value::as_str) {
                blocks[index][to] = json!(format!("{}{piece}", blocks[index][to].as_str().unwrap()));
            }
        }
        for proof in ["signature", "redacted"] {
            if let Some(value) = event.get(proof) {
                blocks[index][proof] = value.clone();
            }
        }
    }
    blocks.into()
}

/// Holds: inf.reasoning
#[test]
fn what_anthropic_thought_before_it_called_comes_back_to_it_unchanged() {
    let body = stored("anthropic/answers/whole_tools.json");
    let given = serde_json::from_slice::<Value>(&body).unwrap()["content"].take();
    let output = native_output(ProviderKind::Anthropic, body);
    assert_eq!(sent_back(&output, ProviderKind::Anthropic)["content"], given);
}

/// Holds: inf.reasoning
#[test]
fn so_it_does_where_it_was_streamed() {
    let output = streamed_output(ProviderKind::Anthropic, &stored("anthropic/answers/thinking_and_tools.sse"));
    let content = sent_back(&output, ProviderKind::Anthropic)["content"].take();
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "I should look.", "signature": "c2ln"}));
    assert_eq!(content[1], json!({"type": "redacted_thinking", "data": "ZW5j"}));
    assert_eq!(content[2], json!({"type": "text", "text": "Looking."}));
    assert_eq!(content[3]["input"], json!({"city": "Paris"}));
}

/// Holds: inf.reasoning
#[test]
fn what_a_model_of_bedrock_thought_before_it_called_comes_back_to_it_unchanged() {
    let body = stored("bedrock/answers/whole_tools.json");
    let given = serde_json::from_slice::<Value>(&body).unwrap()["output"]["message"]["content"].take();
    let output = native_output(ProviderKind::Bedrock, body);
    assert_eq!(sent_back(&output, ProviderKind::Bedrock)["content"], given);
    let stream = wire(ProviderKind::Bedrock, stored("bedrock/answers/thinking_and_tools.frames").to_vec());
    let output = streamed_output(ProviderKind::Bedrock, &stream.into());
    let thought = json!({"reasoningText": {"text": "I should look.", "signature": "c2ln"}});
    assert_eq!(
        sent_back(&output, ProviderKind::Bedrock)["content"],
        json!([
            {"reasoningContent": thought},
            {"reasoningContent": {"redactedContent": "ZW5j"}},
            {"text": "Looking."},
            {"toolUse": {"toolUseId": "tooluse_a1", "name": "get_weather", "input": {"city": "Paris"}}},
            {"toolUse": {"toolUseId": "tooluse_b2", "name": "get_time", "input": {}}},
        ])
    );
}

/// Holds: inf.reasoning
#[test]
fn what_another_thought_before_it_called_comes_back_as_it_said_it() {
    for thoughts in ["reasoning_content", "reasoning"] {
        let function = json!({"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"});
        let message = json!({"role": "assistant", "content": null, thoughts: "I should look.",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}]});
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        let output = native_output(ProviderKind::Openai, body.to_string().into());
        let sent = sent_back(&output, ProviderKind::Openai);
        assert_eq!(sent["reasoning_content"], "I should look.");
        assert_eq!(sent["tool_calls"], message["tool_calls"]);
    }
}

const GEMINI_3: &str = "gemini-3-pro-preview";

/// The parts of the model's turn in the body that Gemini gets after a client's turns.
fn gemini_parts(surface: Surface, messages: &Value, model: &str) -> Value {
    let body = json!({"model": MODEL, "messages": messages}).to_string();
    let target = OutboundTarget {
        refused: RefusedParameters::NONE,
        model,
        output_cap: UpstreamCap { tokens: 9, field: None },
        server: None,
        takes_signed_thoughts_alone: false,
        context_window: None,
        system_prefix: None,
        allowed_fields: &provider_dialects::NO_FIELDS,
    };
    let request = ClientRequest::parse(surface, body.into()).unwrap();
    let mut body: Value =
        serde_json::from_slice(&request.upstream_body(ProviderKind::Gemini, &target).unwrap()).unwrap();
    body["contents"][1]["parts"].take()
}

/// Holds: inf.reasoning, inf.tools
#[test]
fn what_gemini_signed_comes_back_to_it_unchanged() {
    for name in ["tools.json", "reasoning.json"] {
        let body = stored(&format!("gemini/answers/{name}"));
        let given = serde_json::from_slice::<Value>(&body).unwrap()["candidates"][0]["content"]["parts"].take();
        // Thoughts without a signature stay behind, and the signature of a text follows it.
        let given: Vec<_> = given.as_array().unwrap().iter().filter(|part| part.get("thought").is_none()).collect();
        let output = native_output(ProviderKind::Gemini, body);
        let messages = json!([{"role": "user", "content": "weather?"}, {"role": "assistant", "content": output}]);
        let parts = gemini_parts(Surface::Native, &messages, GEMINI_3);
        match name {
            "tools.json" => assert_eq!(parts, json!(given)),
            _ => assert_eq!(parts, json!([{"text": "42"}, {"text": "", "thoughtSignature": "c2lnLXRleHQ="}])),
        }
    }
}

/// Holds: inf.reasoning, inf.tools
#[test]
fn a_signed_call_goes_through_clients_of_either_surface_whole_and_streamed() {
    let whole = stored("gemini/answers/tools.json");
    let answer = read_whole(ProviderKind::Gemini, Surface::OpenAi, whole).unwrap();
    let usage = usage(&answer.metered);
    let rendered: Value = serde_json::from_slice(&answer.render(&receipt(&usage, &answer.metered))).unwrap();
    let message = rendered["choices"][0]["message"].clone();
    let google = json!({"google": {"thought_signature": "c2lnLWNhbGw="}});
    assert_eq!(message["tool_calls"][0]["extra_content"], google);
    let messages = json!([{"role": "user", "content": "weather?"}, message]);
    let parts = gemini_parts(Surface::OpenAi, &messages, GEMINI_3);
    assert_eq!(parts[0]["thoughtSignature"], "c2lnLWNhbGw=");
    assert_eq!(parts[1].get("thoughtSignature"), None);
    let streamed = streamed_output(ProviderKind::Gemini, &stored("gemini/answers/thinking_and_tools.sse"));
    assert_eq!(streamed[2]["signature"], "c2lnLWNhbGw=");
    let sent = sent_back(&streamed, ProviderKind::Openai);
    assert_eq!(sent["tool_calls"][0]["extra_content"], google);
    assert_eq!(sent["tool_calls"][1].get("extra_content"), None);
    // Google's own OpenAI endpoint says it in the same place.
    let body = json!({"choices": [{"index": 0, "message": sent, "finish_reason": "tool_calls"}]});
    let output = native_output(ProviderKind::Openai, body.to_string().into());
    assert!(output.to_string().contains(r#""signature":"c2lnLWNhbGw=""#), "{output}");
}

#[test]
fn a_call_that_gemini_did_not_sign_is_marked_where_it_would_be_refused() {
    let call = |id| json!({"type": "tool_call", "id": id, "name": "f", "arguments": {}});
    let foreign = json!({"type": "reasoning", "text": "hm", "signature": "c2ln"});
    let messages = json!([{"role": "user", "content": "x"},
        {"role": "assistant", "content": [foreign, call("a"), call("b")]}]);
    let parts = gemini_parts(Surface::Native, &messages, GEMINI_3);
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(parts[1], json!({"functionCall": {"id": "b", "name": "f", "args": {}}}));
    let parts = gemini_parts(Surface::Native, &messages, "gemini-2.5-pro");
    assert_eq!(
        parts,
        json!([{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}])
    );
}

#[test]
fn thoughts_go_only_where_they_are_taken() {
    let call = json!({"type": "tool_call", "id": "c", "name": "f", "arguments": {}});
    let signed = json!({"type": "reasoning", "text": "hm", "signature": "c2ln"});
    let of_gemini = json!({"type": "reasoning", "text": "hm", "signature": "gemini:c2ln"});
    let plain = json!({"type": "reasoning", "text": "hm"});
    let text = json!({"type": "text", "text": "so"});
    for (output, dialect) in [
        (json!([signed, text, call]), ProviderKind::Openai),
        (json!([plain, text]), ProviderKind::Openai),
        (json!([plain, text, call]), ProviderKind::Anthropic),
        (json!([of_gemini, text, call]), ProviderKind::Anthropic),
        (json!([of_gemini, text, call]), ProviderKind::Bedrock),
    ] {
        let sent = sent_back(&output, dialect).to_string();
        assert!(!sent.contains("hm") && sent.contains("so"), "{sent}");
    }
}

/// The message of a client of Anthropic's API that got this response of an OpenAI-compatible server, whole and streamed.
fn anthropic_messages(message: &Value) -> [Value; 2] {
    let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let answer = read_whole(ProviderKind::Openai, Surface::Anthropic, whole.to_string().into()).unwrap();
    let used = usage(&answer.metered);
    let rendered: Value = serde_json::from_slice(&answer.render(&receipt(&used, &answer.metered))).unwrap();
    let mut delta = message.clone();
    delta["tool_calls"][0]["index"] = json!(0);
    let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]});
    let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let request = super::golden::minimal_request(Surface::Anthropic, false);
    let (text, _) = super::golden::relayed(ProviderKind::Openai, &request, [stream.as_bytes()]);
    let mut blocks: Vec<Value> = Vec::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let mut event: Value = serde_json::from_str(data).unwrap();
        let index = usize::try_from(event["index"].as_u64().unwrap_or_default()).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].take()),
            "content_block_delta" => match event["delta"]["type"].as_str().unwrap() {
                "thinking_delta" => blocks[index]["thinking"] = event["delta"]["thinking"].take(),
                "signature_delta" => blocks[index]["signature"] = event["delta"]["signature"].take(),
                "text_delta" => blocks[index]["text"] = event["delta"]["text"].take(),
                _ => {}
            },
            _ => {}
        }
    }
    [rendered["content"].clone(), json!(blocks)].map(|content| json!({"role": "assistant", "content": content}))
}

/// Holds: inf.reasoning, inf.anthropic-passed-on
#[test]
fn what_another_thought_goes_from_a_client_of_anthropics_api_only_to_those_who_take_it() {
    let call = json!({"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "reasoning_content": "deep", "content": "so", "tool_calls": [call]});
    for said in anthropic_messages(&message) {
        assert_eq!(said["content"][0], json!({"type": "thinking", "thinking": "deep", "signature": "ledgerway:"}));
        let result = json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]);
        let messages = json!([{"role": "user", "content": "?"}, said, {"role": "user", "content": result}]);
        let body = json!({"model": MODEL, "max_tokens": 9, "messages": messages});
        let request = ClientRequest::parse(Surface::Anthropic, body.to_string().into()).unwrap();
        for kind in ProviderKind::ALL {
            let target = OutboundTarget {
                model: "anthropic.m",
                output_cap: UpstreamCap { tokens: 9, field: None },
                context_window: None,
                system_prefix: None,
                allowed_fields: &provider_dialects::NO_FIELDS,
                server: None,
                refused: RefusedParameters::NONE,
                takes_signed_thoughts_alone: false,
            };
            let sent = request.upstream_body(*kind, &target).unwrap();
            let sent = std::str::from_utf8(&sent).unwrap();
            let takes = [
                ProviderKind::Simulator,
                ProviderKind::Openai,
                ProviderKind::AzureOpenai,
                ProviderKind::Ollama,
                ProviderKind::Cohere,
            ];
            assert_eq!(sent.contains("deep"), takes.contains(kind), "{kind}: {sent}");
            assert!(sent.contains("so") && !sent.contains("ledgerway:"), "{kind}: {sent}");
        }
    }
}

/// The upstream's body of the next request of a client of the Responses API that sends the output back.
fn sent_back_in_responses(output: &Value, dialect: ProviderKind) -> Value {
    let mut input = vec![json!({"role": "user", "content": "weather?"})];
    input.extend(output.as_array().expect("items").iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "12 degrees"}));
    let request =
        ClientRequest::parse(Surface::Responses, json!({"model": MODEL, "input": input}).to_string().into()).unwrap();
    let target = OutboundTarget {
        refused: RefusedParameters::NONE,
        model: "m",
        output_cap: UpstreamCap { tokens: 9, field: None },
        server: None,
        takes_signed_thoughts_alone: false,
        context_window: None,
        system_prefix: None,
        allowed_fields: &provider_dialects::NO_FIELDS,
    };
    let body: Value = serde_json::from_slice(&request.upstream_body(dialect, &target).unwrap()).unwrap();
    body["messages"][1].clone()
}

/// Holds: inf.responses-proofs, inf.reasoning
#[test]
fn a_client_of_responses_sends_back_what_anthropic_thought_unchanged() {
    let body = stored("anthropic/answers/whole_tools.json");
    let given = serde_json::from_slice::<Value>(&body).unwrap()["content"].take();
    let answer = read_whole(ProviderKind::Anthropic, Surface::Responses, body).unwrap();
    let usage = usage(&answer.metered);
    let rendered: Value = serde_json::from_slice(&answer.render(&receipt(&usage, &answer.metered))).unwrap();
    assert_eq!(sent_back_in_responses(&rendered["output"], ProviderKind::Anthropic)["content"], given);
}

/// Holds: inf.responses-proofs, inf.reasoning
#[test]
fn so_it_does_with_what_was_streamed() {
    let request = super::golden::minimal_request(Surface::Responses, false);
    let stream = stored("anthropic/answers/thinking_and_tools.sse");
    let (text, _) = super::golden::relayed(ProviderKind::Anthropic, &request, [&*stream]);
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    let content = sent_back_in_responses(&last["response"]["output"], ProviderKind::Anthropic)["content"].take();
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "I should look.", "signature": "c2ln"}));
    assert_eq!(content[1], json!({"type": "redacted_thinking", "data": "ZW5j"}));
    assert_eq!(content[3]["input"], json!({"city": "Paris"}));
}

/// Holds: inf.responses-proofs
#[test]
fn the_signature_of_a_call_comes_back_with_its_call() {
    let signed = |id: &str| ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: "{}".to_owned(),
        signature: Some(format!("proof of \"{id}\"")),
    };
    let output = vec![
        OutputBlock::ToolCall(signed("a.1")),
        OutputBlock::ToolCall(ToolCall { signature: None, ..signed("b") }),
        OutputBlock::ToolCall(signed("c")),
    ];
    let choice = AnswerChoice { output, ..AnswerChoice::default() };
    let metered = Metered::default();
    let usage = usage(&metered);
    let whole = (Surface::Responses.spec().answer)(&[choice], &receipt(&usage, &metered));
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let input = json!({"model": MODEL, "input": whole["output"]});
    let (_, request) = ParsedRequest::read(Surface::Responses, &input.to_string()).unwrap();
    let ParsedRequest::Chat(request) = request else { panic!("a chat") };
    let chat = request.chat(b"").unwrap();
    let [message] = &*chat.messages else { panic!("one message") };
    let signatures = message.content.iter().map(|block| match block {
        Block::ToolCall(call) => (call.id.as_str(), call.signature.clone()),
        block => panic!("{block:?}"),
    });
    let signatures = signatures.collect::<Vec<_>>();
    assert_eq!(signatures, [("a.1", signed("a.1").signature), ("b", None), ("c", signed("c").signature)]);
}

/// Holds: inf.tools
#[test]
fn calls_without_ids_get_one_each_on_every_translated_surface() {
    let call = |name: &str, arguments: &str| json!({"index": 0, "id": "", "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = [call("f", "{\"a\":1}"), call("f", "{\"b\":2}")];
    let whole = json!({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    let chunk =
        |call: &Value| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}));
    let piece = json!({"index": 0, "function": {"arguments": ""}});
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let stream = [chunk(&calls[0]), chunk(&piece), chunk(&calls[1]), end.to_owned()].concat();
    let ids = |text: &str, member: &str| {
        let member = format!("\"{member}\":\"");
        let parts = text.split(&member).skip(1);
        let ids: std::collections::BTreeSet<_> =
            parts.filter_map(|part| Some(part.split_once('"')?.0.to_owned())).collect();
        ids.into_iter()
            .filter(|id| id.starts_with("call_") || id.starts_with("toolu_") || id.is_empty())
            .collect::<Vec<_>>()
    };
    for (surface, member) in [(Surface::Native, "id"), (Surface::Anthropic, "id"), (Surface::Responses, "call_id")] {
        let answer = read_whole(ProviderKind::Openai, surface, whole.to_string().into()).unwrap();
        let used = usage(&answer.metered);
        let rendered = answer.render(&receipt(&used, &answer.metered));
        let of_whole = ids(std::str::from_utf8(&rendered).unwrap(), member);
        let request = crate::golden::minimal_request(surface, false);
        let (mut relay, mut out) =
            (Relay::new(ProviderKind::Openai, &request, REQUEST_ID, MODEL, CREATED), BytesMut::new());
        relay.feed(stream.as_bytes(), &mut out).unwrap();
        let metered = relay.metered();
        out.extend_from_slice(&relay.closing(&receipt(&usage(&metered), &metered)));
        let of_stream = ids(std::str::from_utf8(&out).unwrap(), member);
        assert!(of_whole.len() == 2 && of_whole.iter().all(|id| !id.is_empty()), "{surface:?} {of_whole:?}");
        assert_eq!(of_stream, of_whole, "{surface:?}");
    }
}

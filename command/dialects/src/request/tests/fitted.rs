//! Values that are right in a client's dialect and refused by a provider: they are sent in the form that it takes.

use serde_json::{Value, json};

use super::*;

const CLAUDE_ON_VERTEX: &str = "claude-sonnet-4-6";
const CLAUDE_ON_BEDROCK: &str = "anthropic.claude-sonnet-4-6";

fn sent(kind: ProviderKind, target: &OutboundTarget<'_>, body: &Value) -> Result<Value, Refusal> {
    let request = parse(Surface::OpenAi, body.to_string())?;
    let bytes = request.upstream_body(kind, target)?;
    Ok(serde_json::from_slice(&bytes).expect("a body is JSON"))
}

fn to_claude(kind: ProviderKind, body: &Value) -> Result<Value, Refusal> {
    let model = match kind {
        ProviderKind::Vertex => CLAUDE_ON_VERTEX,
        ProviderKind::Bedrock => CLAUDE_ON_BEDROCK,
        _ => "claude-sonnet-4-6",
    };
    sent(kind, &OutboundTarget { model, ..target() }, body)
}

/// The role of each message with its texts.
fn said(body: &Value) -> Vec<String> {
    let texts = |message: &Value| -> Vec<String> {
        let blocks = message["content"].as_array().expect("blocks");
        blocks.iter().map(|block| block["text"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let line =
        |message: &Value| format!("{}:{}", message["role"].as_str().unwrap_or_default(), texts(message).join("|"));
    body["messages"].as_array().expect("messages").iter().map(line).collect()
}

fn message(role: &str, content: impl Into<Value>) -> Value {
    json!({"role": role, "content": content.into()})
}

#[test]
fn blank_text_is_left_out_for_claude_wherever_it_runs() {
    let parts = |texts: &[&str]| -> Value { texts.iter().map(|text| json!({"type": "text", "text": text})).collect() };
    let (user, assistant) = (|text: &str| message("user", text), |text: &str| message("assistant", text));
    for (messages, wanted) in [
        (vec![message("system", "   "), user("hi")], &["user:hi"][..]),
        (vec![user("hi"), assistant(" "), user("still there?")], &["user:hi|still there?"]),
        (vec![user("hi"), assistant("yes"), user("\n"), assistant("well")], &["user:hi", "assistant:yes|well"]),
        (vec![message("user", parts(&["", "hi", " \n", "there"]))], &["user:hi|there"]),
        // Without these the conversation would end, or begin, with the assistant.
        (vec![user("hi"), assistant("yes"), user("\n")], &["user:hi", "assistant:yes", "user:."]),
        (vec![user(""), assistant("How can I help?"), user("hi")], &["user:.", "assistant:How can I help?", "user:hi"]),
        (vec![user(" "), assistant(" "), user("hi")], &["user:hi"]),
        // A response that the model is to go on with.
        (vec![user("hi"), assistant("Well, \n")], &["user:hi", "assistant:Well,"]),
        (vec![user("hi"), assistant("Well, \n"), user("go on")], &["user:hi", "assistant:Well, \n", "user:go on"]),
    ] {
        let body = json!({"model": "m", "max_tokens": 5, "messages": messages});
        for kind in [ProviderKind::Anthropic, ProviderKind::Vertex, ProviderKind::Bedrock] {
            let sent = to_claude(kind, &body).expect("taken");
            assert_eq!(said(&sent), wanted, "{kind:?} {body}");
            assert_eq!(sent.get("system"), None, "{sent}");
        }
    }
    let result = json!({"role": "tool", "tool_call_id": "a", "content": " "});
    let call = json!({"role": "assistant", "content": "\n", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let body = json!({"model": "m", "messages": [user("hi"), call, result]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(sent["messages"][1]["content"], json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
    assert_eq!(sent["messages"][2]["content"], json!([{"type": "tool_result", "tool_use_id": "a", "content": []}]));
}

#[test]
fn a_conversation_that_the_assistant_begins_begins_with_a_turn_of_the_user_for_bedrock() {
    let messages = [message("assistant", "How can I help?"), message("user", "hi")];
    let body = json!({"model": "m", "messages": messages});
    let greeted = to_claude(ProviderKind::Bedrock, &body).expect("taken");
    assert_eq!(said(&greeted), ["user:.", "assistant:How can I help?", "user:hi"]);
    let greeted = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(said(&greeted), ["assistant:How can I help?", "user:hi"]);
}

#[test]
fn a_mark_of_a_cache_on_blank_text_is_that_of_the_block_before_it() {
    let cached = |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let body = json!({"model": "m", "messages": [
        message("system", json!([{"type": "text", "text": "Be brief."}, cached(" ")])),
        message("user", json!([{"type": "text", "text": "hi"}, cached("\n")])),
    ]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(sent["system"], json!([cached("Be brief.")]));
    assert_eq!(sent["messages"], json!([message("user", json!([cached("hi")]))]));
}

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

#[test]
fn an_image_has_a_type_that_providers_know_however_the_client_spells_it() {
    for url in [
        "data:image/jpg;base64,YWJjYWI=",
        "data:IMAGE/JPEG;BASE64,YWJjYWI=",
        "data:image/jpeg;charset=utf-8;base64,YWJjYWI",
        "data:image/pjpeg;base64,YWJj\r\nYWI=\n",
    ] {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let body = json!({"model": "m", "messages": [message("user", json!([image]))]});
        let of = |kind, model| sent(kind, &OutboundTarget { model, ..target() }, &body).expect("taken");
        let source = json!({"type": "base64", "media_type": "image/jpeg", "data": "YWJjYWI="});
        for (kind, model) in [(ProviderKind::Anthropic, "m"), (ProviderKind::Vertex, CLAUDE_ON_VERTEX)] {
            assert_eq!(of(kind, model)["messages"][0]["content"][0]["source"], source, "{url}");
        }
        let inline = json!({"inlineData": {"mimeType": "image/jpeg", "data": "YWJjYWI="}});
        for kind in [ProviderKind::Gemini, ProviderKind::Vertex] {
            assert_eq!(of(kind, "gemini-2.5-pro")["contents"][0]["parts"][0], inline, "{url}");
        }
        let converse = &of(ProviderKind::Bedrock, CLAUDE_ON_BEDROCK)["messages"][0]["content"][0]["image"];
        assert_eq!(converse, &json!({"format": "jpeg", "source": {"bytes": "YWJjYWI="}}), "{url}");
        assert_eq!(of(ProviderKind::Ollama, "m")["messages"][0]["images"], json!(["YWJjYWI="]), "{url}");
        let cohere = &of(ProviderKind::Cohere, "m")["messages"][0]["content"][0]["image_url"]["url"];
        assert_eq!(cohere, "data:image/jpeg;base64,YWJjYWI=");
    }
    for (surface, block) in [
        (Surface::Native, r#"{"type":"image","media_type":"image/JPG","data":"YWJj\nYWI="}"#),
        (
            Surface::Anthropic,
            r#"{"type":"image","source":{"type":"base64","media_type":"image/jpg;x=y","data":"YWJj\nYWI="}}"#,
        ),
    ] {
        let cap = if surface == Surface::Anthropic { r#""max_tokens":5,"# } else { "" };
        let body = format!(r#"{{"model":"m",{cap}"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        let request = parse(surface, body).unwrap_or_else(|refusal| panic!("{}", refusal.message));
        let bytes = request.upstream_body(ProviderKind::Openai, &target()).expect("taken");
        let sent: Value = serde_json::from_slice(&bytes).expect("JSON");
        let url = &sent["messages"][0]["content"][0]["image_url"]["url"];
        assert_eq!(url, "data:image/jpeg;base64,YWJjYWI=", "{surface:?}");
    }
}

#[test]
fn a_document_has_a_type_that_providers_know_too() {
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "DATA:Application/X-PDF;q=1;base64,JVBE\nRg=="}});
    let body = json!({"model": "m", "messages": [message("user", json!([file]))]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="});
    assert_eq!(sent["messages"][0]["content"][0]["source"], source);
}

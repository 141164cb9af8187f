//! Fields that a target's dialect leaves out, and the marks of a cache, which gateways' clients send in OpenAI's
//! dialect.

use serde_json::{Value, json};

use super::*;

fn asked(surface: Surface, body: &Value) -> ClientRequest {
    parse(surface, body.to_string()).unwrap_or_else(|refusal| panic!("{body}: {}", refusal.message))
}

fn ignored(request: &ClientRequest, kind: ProviderKind) -> Option<String> {
    let written = request.upstream_bodies().body(kind, &target()).expect("a body");
    written.ignored.in_words_of(request.surface())
}

fn sent(request: &ClientRequest, kind: ProviderKind) -> Value {
    serde_json::from_slice(&request.upstream_body(kind, &target()).expect("a body")).expect("JSON")
}

#[test]
fn what_is_left_out_has_the_clients_names() {
    let openai = json!({"model": "m", "seed": 7, "store": true, "verbosity": "low", "prompt_cache_key": "k",
        "service_tier": "auto", "messages": [{"role": "user", "name": "ada", "content": "x"}]});
    let openai = asked(Surface::OpenAi, &openai);
    let said = ignored(&openai, ProviderKind::Anthropic);
    assert_eq!(said.as_deref(), Some("seed, messages[].name, prompt_cache_key, store, verbosity"));
    assert_eq!(ignored(&openai, ProviderKind::Openai), None);
    let responses = json!({"model": "m", "input": "x", "text": {"verbosity": "low"}, "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "safety_identifier": "s", "reasoning": {"summary": "auto"}});
    let responses = asked(Surface::Responses, &responses);
    let said = "text.verbosity, safety_identifier, prompt_cache_key, prompt_cache_retention";
    assert_eq!(ignored(&responses, ProviderKind::Openai).as_deref(), Some(said));
    let empty = json!({"model": "m", "input": "x", "text": {"verbosity": null}, "prompt_cache_key": ""});
    assert_eq!(ignored(&asked(Surface::Responses, &empty), ProviderKind::Openai), None);
    let plain = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
    let mut adaptive = plain.clone();
    adaptive["thinking"] = json!({"type": "adaptive"});
    let adaptive = asked(Surface::Anthropic, &adaptive);
    assert_eq!(ignored(&adaptive, ProviderKind::Gemini).as_deref(), Some("thinking.type"));
    assert_eq!(ignored(&adaptive, ProviderKind::Anthropic), None);
    let mut with_effort = plain.clone();
    with_effort["thinking"] = json!({"type": "adaptive"});
    with_effort["output_config"] = json!({"effort": "low"});
    assert_eq!(ignored(&asked(Surface::Anthropic, &with_effort), ProviderKind::Openai), None);
    let mut headers = http::HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let read = |headers: &http::HeaderMap| (Surface::Anthropic.spec().read_headers)(headers).expect("headers");
    let mut request = asked(Surface::Anthropic, &plain);
    request.set_headers(read(&headers));
    assert_eq!(ignored(&request, ProviderKind::Openai), None);
    headers.insert("anthropic-beta", HeaderValue::from_static("context-1m-2025-08-07"));
    request.set_headers(read(&headers));
    assert_eq!(ignored(&request, ProviderKind::Openai).as_deref(), Some("anthropic-beta"));
}

/// Holds: http.anthropic-headers
#[test]
fn betas_that_are_not_sent_are_named_each_by_itself() {
    let body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
    let mut request = asked(Surface::Anthropic, &body);
    let mut headers = http::HeaderMap::new();
    headers.insert("anthropic-beta", HeaderValue::from_static("effort-2025-11-24,oauth-2025-04-20,of-tomorrow"));
    request.set_headers((Surface::Anthropic.spec().read_headers)(&headers).expect("headers"));
    let written = |target| request.upstream_bodies().body(ProviderKind::Anthropic, &target).expect("a body").ignored;
    let left_out = written(target());
    let said = "anthropic-beta: oauth-2025-04-20, anthropic-beta: of-tomorrow";
    assert_eq!(left_out.in_words_of(Surface::Anthropic).as_deref(), Some(said));
    // Of a client's text there is nothing in metrics.
    assert_eq!(left_out.metric_names().collect::<Vec<_>>(), ["anthropic-beta"]);
    let allowed = BTreeSet::from(["anthropic_beta".to_owned()]);
    let sent = written(OutboundTarget { allowed_fields: &allowed, ..target() });
    assert_eq!((sent.in_words_of(Surface::Anthropic), sent.metric_names().count()), (None, 0));
}

#[test]
fn a_mark_of_the_cache_in_openais_dialect_is_anthropics() {
    let mark = json!({"type": "ephemeral"});
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": mark}]},
            {"role": "user", "content": "u", "cache_control": mark},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "t", "cache_control": mark}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
    });
    let request = asked(Surface::OpenAi, &body);
    let sent = sent(&request, ProviderKind::Anthropic);
    assert_eq!(sent["system"][0]["cache_control"], mark, "{sent}");
    assert_eq!(sent["messages"][0]["content"][0]["cache_control"], mark, "{sent}");
    assert_eq!(sent["messages"][2]["content"][0]["type"], "tool_result", "{sent}");
    assert_eq!(sent["messages"][2]["content"][0]["cache_control"], mark, "{sent}");
    assert_eq!(sent["tools"][0]["cache_control"], mark, "{sent}");
    assert_eq!(ignored(&request, ProviderKind::Gemini).as_deref(), Some("cache_control"));
}

/// Holds: event.unpriced
#[test]
fn a_longer_cache_has_no_price_in_openais_dialect_either() {
    let long = json!({"type": "ephemeral", "ttl": "1h"});
    let text = json!([{"type": "text", "text": "x", "cache_control": long}]);
    for body in [
        json!({"model": "m", "messages": [{"role": "user", "content": text}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x", "cache_control": long}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "cache_control": long}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": long}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f", "cache_control": long}}]}),
    ] {
        let request = asked(Surface::OpenAi, &body);
        for kind in [ProviderKind::Openai, ProviderKind::Anthropic, ProviderKind::Bedrock] {
            let refusal = request.unpriced(kind, &NO_FIELDS).expect("it has another price");
            assert!(refusal.message.contains("cache_control.ttl"), "{}", refusal.message);
        }
        let allowed = BTreeSet::from(["cache_control".to_owned()]);
        let target = OutboundTarget { allowed_fields: &allowed, ..target() };
        let sent = request.upstream_body(ProviderKind::Anthropic, &target).expect("it is allowed");
        assert!(String::from_utf8_lossy(&sent).contains(r#""ttl":"1h""#), "{body}");
    }
}

/// Holds: event.unpriced
#[test]
fn the_advice_to_allow_a_field_is_given_where_it_helps() {
    let openai = openai(r#","service_tier":"flex""#).ok().unwrap();
    for (kind, helps) in [
        (ProviderKind::Openai, true),
        (ProviderKind::AzureOpenai, true),
        (ProviderKind::Anthropic, false),
        (ProviderKind::Gemini, false),
    ] {
        let said = openai.unpriced(kind, &NO_FIELDS).expect("it has another price").message;
        assert_eq!(said.contains("add service_tier to the provider's allowed_fields"), helps, "{kind:?}: {said}");
        assert_eq!(said.contains("leave it out"), !helps, "{kind:?}: {said}");
        // What a translation would drop is not let through by an operator who allows it.
        let allowed = BTreeSet::from(["service_tier".to_owned()]);
        assert_eq!(openai.unpriced(kind, &allowed).is_none(), helps, "{kind:?}");
    }
}

/// Holds: event.unpriced
#[test]
fn a_file_in_openais_dialect_is_a_document() {
    let with = |file: Value| json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]});
    let pdf = json!({"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="});
    let request = asked(Surface::OpenAi, &with(pdf.clone()));
    assert!(request.has_documents(), "it may cost the whole context");
    let sent_to_claude = sent(&request, ProviderKind::Anthropic);
    let wanted = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    assert_eq!(sent_to_claude["messages"][0]["content"][0]["source"], wanted, "{sent_to_claude}");
    assert_eq!(sent(&request, ProviderKind::Openai)["messages"][0]["content"][0]["file"], pdf);
    for (file, code) in [
        (json!({"file_id": "file-1"}), ErrorCode::ModelUnpriced),
        (json!({"file_data": "data:application/pdf;base64,AA", "file_id": "file-1"}), ErrorCode::ModelUnpriced),
        (json!({"file_data": "data:application/pdf;base64,AA", "pages": 9}), ErrorCode::ModelUnpriced),
        (json!({"file_data": "https://example.com/a.pdf"}), ErrorCode::InvalidRequest),
        (json!({"fileData": "x"}), ErrorCode::InvalidRequest),
        (json!({}), ErrorCode::InvalidRequest),
    ] {
        let refusal = parse(Surface::OpenAi, with(file.clone()).to_string()).err().expect("it is refused");
        assert_eq!(refusal.code, code, "{file}: {}", refusal.message);
    }
}

#[test]
fn a_document_that_is_text_becomes_text_where_there_are_no_documents() {
    let text =
        json!({"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "d"}});
    let pdf =
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}});
    let with = |blocks: Value| {
        let messages = json!([{"role": "user", "content": blocks}]);
        asked(Surface::Anthropic, &json!({"model": "m", "max_tokens": 5, "messages": messages}))
    };
    for kind in [ProviderKind::Ollama, ProviderKind::Cohere] {
        let body = sent(&with(json!([text, {"type": "text", "text": "q"}])), kind).to_string();
        assert!(body.contains(r"t\nd"), "{kind:?}: {body}");
        assert!(with(json!([text, pdf])).upstream_body(kind, &target()).is_err(), "{kind:?}");
    }
}

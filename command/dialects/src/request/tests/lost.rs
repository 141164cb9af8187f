//! Parts of a message besides text and calls: translated or refused, but never lost on the way to another dialect.

use std::collections::BTreeSet;

use events::usage::ServiceTier;
use serde_json::{Value, json};

use super::*;

fn sent(surface: Surface, kind: ProviderKind, message: &Value) -> Result<String, Refusal> {
    let ask = json!({"role": "user", "content": "x"});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [ask, message, ask]});
    let body = parse(surface, body.to_string())?.upstream_body(kind, &target())?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn what_has_no_counterpart_is_refused_for_another_dialect_and_passes_in_its_own() {
    let call = json!({"name": "f", "arguments": "{}"});
    let reference = json!([{"type": "text", "text": "x"}, {"type": "reference", "reference_ids": [1], "text": "R"}]);
    let thought = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
    for (message, field) in [
        (json!({"role": "assistant", "content": "", "function_call": call}), "messages[1].function_call"),
        (json!({"role": "assistant", "content": "So", "prefix": true}), "messages[1].prefix"),
        (json!({"role": "assistant", "content": "So", "partial": true}), "messages[1].partial"),
        (json!({"role": "user", "content": reference}), "messages[1].content[1].type"),
        (json!({"role": "user", "content": thought}), "messages[1].content"),
    ] {
        assert!(sent(Surface::OpenAi, ProviderKind::Openai, &message).is_ok(), "{message}");
        for kind in [ProviderKind::Anthropic, ProviderKind::Gemini, ProviderKind::Bedrock, ProviderKind::Ollama] {
            let refusal = sent(Surface::OpenAi, kind, &message).expect_err(field);
            assert_eq!(
                (refusal.code, &refusal.details["field"]),
                (ErrorCode::InvalidRequest, &field.into()),
                "{kind:?}"
            );
        }
    }
    for harmless in [
        json!({"role": "assistant", "content": "so", "prefix": false, "function_call": null, "refusal": null}),
        json!({"role": "assistant", "content": "so", "refusal": ""}),
    ] {
        let sent = sent(Surface::OpenAi, ProviderKind::Anthropic, &harmless).expect("a body");
        assert!(sent.contains(r#""content":[{"type":"text","text":"so"}]"#), "{sent}");
    }
}

#[test]
fn a_refusal_beside_a_text_and_a_thought_in_a_part_go_on() {
    let refusal = json!({"role": "assistant", "content": "first", "refusal": "then not"});
    let both = sent(Surface::OpenAi, ProviderKind::Anthropic, &refusal).expect("a body");
    assert!(both.contains(r#"{"type":"text","text":"first"},{"type":"text","text":"then not"}"#), "{both}");
    for thought in [
        json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "text", "text": "m"}]}),
        json!({"type": "thinking", "thinking": "hmm"}),
        json!({"type": "reasoning", "text": "hmm"}),
    ] {
        let message = json!({"role": "assistant", "content": [thought, {"type": "text", "text": "so"}]});
        let sent = sent(Surface::OpenAi, ProviderKind::Ollama, &message).expect("a body");
        assert!(sent.contains(r#""content":"so","thinking":"hmm""#), "{sent}");
    }
}

#[test]
fn an_image_in_a_search_result_goes_on_after_its_text() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let inside = json!([{"type": "text", "text": "t"}, {"type": "image", "source": source}]);
    let found = json!({"type": "search_result", "source": "s", "title": "n", "content": inside});
    let sent = sent(Surface::Anthropic, ProviderKind::Openai, &json!({"role": "user", "content": [found]}));
    let sent = sent.expect("a body");
    let wanted =
        r#"{"type":"text","text":"n\ns\nt"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
    assert!(sent.contains(wanted), "{sent}");
}

#[test]
fn what_an_output_is_for_goes_on_to_those_that_take_it() {
    let schema = json!({"name": "n", "description": "a city", "schema": {"type": "object"}});
    let format = json!({"type": "json_schema", "json_schema": schema});
    let mut flat = schema.clone();
    flat["type"] = json!("json_schema");
    let messages = json!([{"role": "user", "content": "x"}]);
    for (surface, kind, body) in [
        (Surface::Native, ProviderKind::Openai, json!({"model": "m", "messages": messages, "response_format": format})),
        (
            Surface::Native,
            ProviderKind::Bedrock,
            json!({"model": "m", "messages": messages, "response_format": format}),
        ),
        (
            Surface::OpenAi,
            ProviderKind::Bedrock,
            json!({"model": "m", "messages": messages, "response_format": format}),
        ),
        (Surface::Responses, ProviderKind::Openai, json!({"model": "m", "input": "x", "text": {"format": flat}})),
    ] {
        let sent = parse(surface, body.to_string()).expect("a request").upstream_body(kind, &target()).expect("a body");
        let sent = std::str::from_utf8(&sent).expect("UTF-8");
        assert!(sent.contains(r#""description":"a city""#), "{surface:?} {kind:?}: {sent}");
    }
    let mut format = format;
    format["json_schema"]["description"] = json!(5);
    let body = json!({"model": "m", "messages": messages, "response_format": format});
    let sent =
        parse(Surface::Native, body.to_string()).expect("a request").upstream_body(ProviderKind::Openai, &target());
    assert!(!sent.expect("a body").windows(13).any(|bytes| bytes == br#""description""#));
}

/// Holds: inf.service-tiers
#[test]
fn a_service_tier_goes_on_to_those_that_take_it() {
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = json!({"model": "m", "max_tokens": 9, "messages": messages, "service_tier": "flex"});
    let native = json!({"model": "m", "messages": messages, "service_tier": "flex"});
    let responses = json!({"model": "m", "input": "x", "service_tier": "flex"});
    let allowed = BTreeSet::from(["service_tier".to_owned()]);
    for (surface, body) in [
        (Surface::Native, native),
        (Surface::OpenAi, chat.clone()),
        (Surface::Anthropic, chat),
        (Surface::Responses, responses),
    ] {
        let request = parse(surface, body.to_string()).expect("a request");
        assert_eq!(request.facts.service_tier(), Some(ServiceTier::Flex), "{surface:?}");
        for (kind, written) in [
            (ProviderKind::Openai, r#""service_tier":"flex""#),
            (ProviderKind::AzureOpenai, r#""service_tier":"flex""#),
            (ProviderKind::Bedrock, r#""serviceTier":{"type":"flex"}"#),
        ] {
            assert!(request.unpriced(kind, &NO_FIELDS).is_some(), "{surface:?}: the price does not have it");
            assert!(request.unpriced(kind, &allowed).is_none(), "{surface:?} {kind:?}");
            let target = OutboundTarget { allowed_fields: &allowed, ..target() };
            let sent = request.upstream_body(kind, &target).expect("a body");
            let sent = std::str::from_utf8(&sent).expect("UTF-8");
            assert!(sent.contains(written), "{surface:?} {kind:?}: {sent}");
        }
        for kind in [ProviderKind::Gemini, ProviderKind::Cohere, ProviderKind::Ollama] {
            assert!(request.unpriced(kind, &allowed).is_some(), "{surface:?} {kind:?}");
        }
    }
}

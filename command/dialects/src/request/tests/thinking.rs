//! Whether and how hard to think, said in the words of one dialect and sent in those of another.

use serde_json::{Value, json};

use super::*;

/// The body for a target, and the names of what it leaves out.
fn sent(kind: ProviderKind, model: &'static str, more: &Value) -> Result<(Value, Vec<&'static str>), Refusal> {
    let mut body = json!({"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = parse(Surface::Anthropic, body.to_string())?;
    let output_cap = UpstreamCap { tokens: 4096, field: None };
    let written = request.upstream_bodies().body(kind, &OutboundTarget { model, output_cap, ..target() })?;
    let ignored = written.ignored.features.iter().map(intermediate::chat::Feature::name).collect();
    Ok((serde_json::from_slice(&written.bytes).unwrap(), ignored))
}

#[test]
fn claude_is_told_the_same_wherever_it_runs() {
    for more in [
        json!({}),
        json!({"thinking": {"type": "adaptive"}}),
        json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        json!({"thinking": {"type": "disabled"}}),
        json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
        json!({"output_config": {"effort": "low"}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}}),
    ] {
        let (vertex, ignored) = sent(ProviderKind::Vertex, "claude-sonnet-4-6", &more).unwrap();
        assert_eq!([&vertex["thinking"], &vertex["output_config"]], [&more["thinking"], &more["output_config"]]);
        assert_eq!(ignored, [""; 0], "{more}");
        for model in ["anthropic.claude-sonnet-4-6", "arn:aws:bedrock:us-east-1:1:application-inference-profile/a"] {
            let (bedrock, ignored) = sent(ProviderKind::Bedrock, model, &more).unwrap();
            assert_eq!(bedrock["additionalModelRequestFields"]["thinking"], more["thinking"], "{model} {more}");
            assert_eq!(bedrock["outputConfig"]["effort"], more["output_config"]["effort"], "{model} {more}");
            assert_eq!(ignored, [""; 0], "{more}");
        }
    }
}

#[test]
fn thinking_that_is_off_stays_off_and_an_adaptive_one_is_left_to_the_model() {
    let off = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}});
    let adaptive = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    let effort = json!({"output_config": {"effort": "high"}});
    let none = Value::Null;
    for (kind, model, at, when_off, ignored, at_high) in [
        (ProviderKind::Openai, "gpt-5.4", "/reasoning_effort", none.clone(), &["reasoning_off"] as &[_], json!("high")),
        (ProviderKind::Ollama, "q", "/think", json!(false), &[], json!("high")),
        (ProviderKind::Cohere, "c", "/thinking/type", json!("disabled"), &[], json!("enabled")),
        (
            ProviderKind::Gemini,
            "gemini-2.5-flash",
            "/generationConfig/thinkingConfig/thinkingBudget",
            json!(0),
            &[],
            // The output cap.
            json!(4_096),
        ),
        (
            ProviderKind::Gemini,
            "gemini-3.8-flash",
            "/generationConfig/thinkingConfig/thinkingLevel",
            json!("LOW"),
            &[],
            json!("HIGH"),
        ),
        (
            ProviderKind::Bedrock,
            "us.amazon.nova-2-lite-v1:0",
            "/additionalModelRequestFields/reasoningConfig/maxReasoningEffort",
            none.clone(),
            &["reasoning_off"],
            json!("high"),
        ),
        (
            ProviderKind::Bedrock,
            "openai.gpt-oss-120b-1:0",
            "/additionalModelRequestFields/reasoning_effort",
            none.clone(),
            &["reasoning_off"],
            json!("high"),
        ),
        (
            ProviderKind::Bedrock,
            "openai.gpt-5.4",
            "/additionalModelRequestFields/reasoning/effort",
            none.clone(),
            &["reasoning_off"],
            json!("high"),
        ),
        (ProviderKind::Bedrock, "meta.llama3", "/outputConfig/effort", none.clone(), &["reasoning_off"], json!("high")),
    ] {
        let field = |more| {
            let (body, ignored) = sent(kind, model, more).unwrap();
            (body.pointer(at).cloned().unwrap_or_default(), ignored)
        };
        assert_eq!(field(&off), (when_off, ignored.to_vec()), "{kind:?} {model}");
        let unsaid = vec!["reasoning_adaptive", "reasoning_display"];
        assert_eq!(field(&adaptive), (Value::Null, unsaid), "{kind:?} {model}");
        assert_eq!(field(&effort), (at_high, vec![]), "{kind:?} {model}");
    }
}

#[test]
fn what_a_model_of_bedrock_does_not_take_back_is_listed_as_ignored() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let cached = json!({"type": "text", "text": "so", "cache_control": {"type": "ephemeral"}});
    let messages = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [thought, cached]}]);
    for (model, unsaid) in [
        ("anthropic.claude-x", vec![]),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/a", vec![]),
        ("us.amazon.nova-2-lite-v1:0", vec![]),
        ("openai.gpt-oss-120b-1:0", vec!["signed_reasoning", "cache_point"]),
        ("meta.llama3", vec!["signed_reasoning", "cache_point"]),
    ] {
        let (body, ignored) = sent(ProviderKind::Bedrock, model, &json!({ "messages": messages })).unwrap();
        assert_eq!(ignored, unsaid, "{model}");
        let body = body.to_string();
        assert_eq!([body.contains("c2ln"), body.contains("cachePoint")], [unsaid.is_empty(); 2], "{body}");
    }
}

#[test]
fn hints_about_tools_are_listed_as_ignored_and_tools_of_code_alone_are_refused() {
    let tools = |more: Value| {
        let mut tool = json!({"name": "f", "input_schema": {"type": "object"}});
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"tools": [tool]})
    };
    for (kind, model) in [
        (ProviderKind::Vertex, "claude-x"),
        (ProviderKind::Bedrock, "anthropic.claude-x"),
        (ProviderKind::Openai, "gpt"),
        (ProviderKind::Gemini, "gemini-3"),
        (ProviderKind::Ollama, "q"),
        (ProviderKind::Cohere, "c"),
    ] {
        for (more, ignored) in [
            (json!({"input_examples": [{"a": 1}]}), vec!["tool_hints"]),
            (json!({"defer_loading": true}), vec!["tool_hints"]),
            (json!({"defer_loading": false, "input_examples": [], "allowed_callers": ["direct"]}), vec![]),
            (json!({"allowed_callers": ["direct", "code_execution_20250825"]}), vec![]),
            (json!({"allowed_callers": ""}), vec![]),
            (json!({"allowed_callers": {}}), vec![]),
            (json!({"allowed_callers": false}), vec![]),
        ] {
            assert_eq!(sent(kind, model, &tools(more.clone())).unwrap().1, ignored, "{kind:?} {more}");
        }
        let refusal = sent(kind, model, &tools(json!({"allowed_callers": ["code_execution_20250825"]}))).unwrap_err();
        assert_eq!(refusal.details["field"], "tools[0].allowed_callers", "{kind:?}");
    }
}

#[test]
fn thinking_in_openais_dialect_is_the_models_choice_or_off_as_the_client_says() {
    for (more, kind, model, at, wanted, ignored) in [
        (r#"{"type":"adaptive"}"#, ProviderKind::Vertex, "claude-x", "/thinking", json!({"type": "adaptive"}), None),
        (r#"{"type":"adaptive"}"#, ProviderKind::Vertex, "claude-x", "/output_config", Value::Null, None),
        (r#"{"type":"adaptive"}"#, ProviderKind::Cohere, "c", "/thinking", Value::Null, Some("thinking")),
        (r#"{"type":"disabled"}"#, ProviderKind::Vertex, "claude-x", "/thinking", json!({"type": "disabled"}), None),
        (r#"{"type":"disabled"}"#, ProviderKind::Cohere, "c", "/thinking", json!({"type": "disabled"}), None),
        (
            r#"{"type":"disabled"}"#,
            ProviderKind::Bedrock,
            "us.amazon.nova-2-lite-v1:0",
            "/thinking",
            Value::Null,
            Some("thinking"),
        ),
        (r#"{"type":"enabled"}"#, ProviderKind::Cohere, "c", "/thinking", json!({"type": "enabled"}), None),
    ] {
        let request = openai(&format!(r#","thinking":{more}"#)).expect("a request");
        let written = request.upstream_bodies().body(kind, &OutboundTarget { model, ..target() }).expect("a body");
        let body: Value = serde_json::from_slice(&written.bytes).expect("JSON");
        let found = body.pointer(at).cloned().unwrap_or_default();
        assert_eq!(found, wanted, "{more} {kind:?} {body}");
        assert_eq!(written.ignored.in_words_of(Surface::OpenAi).as_deref(), ignored, "{more} {kind:?}");
    }
}

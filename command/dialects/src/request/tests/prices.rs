//! When a request has a price, and where a field that may choose another is let through.

use super::*;

/// Holds: event.unpriced
#[test]
fn what_has_no_price_is_422_for_every_provider_that_does_not_allow_it() {
    let allowing = |name: &str| BTreeSet::from([name.to_owned()]);
    for (more, field) in [
        (r#","service_tier":"priority""#, "service_tier"),
        (r#","modalities":["audio"]"#, "modalities[0]"),
        (r#","audio":{"voice":"x"}"#, "audio"),
        (r#","web_search_options":{}"#, "web_search_options"),
        (r#","plugins":[{"id":"web"}]"#, "plugins"),
        (r#","search_parameters":{"mode":"auto"}"#, "search_parameters"),
        (r#","enable_search":true"#, "enable_search"),
        (r#","models":["a"]"#, "models"),
        (r#","tools":[{"type":"function","function":{"name":"x"}},{"type":"web_search"}]"#, "tools[1]"),
        (r#","tools":[{"google_search":{}}]"#, "tools[0]"),
        (r#","prediction":{"type":"content","content":"x"}"#, "prediction"),
        (r#","speed":"fast""#, "speed"),
        (r#","best_of":3"#, "best_of"),
        (r#","n_predict":100000"#, "n_predict"),
        (r#","num_predict":-1"#, "num_predict"),
        (r#","chat_template":"{% for i in range(1000000) %}x{% endfor %}""#, "chat_template"),
        (r#","max_new_tokens":100000"#, "max_new_tokens"),
        (r#","max_output_tokens":100000"#, "max_output_tokens"),
        (r#","provider":{"order":["a"]}"#, "provider"),
        (r#","route":"fallback""#, "route"),
        (r#","transforms":["middle-out"]"#, "transforms"),
        (r#","data_sources":[{"type":"azure_search"}]"#, "data_sources"),
        (r#","extra_body":{"google":{"cached_content":"x"}}"#, "extra_body"),
        (r#","fallbacks":["a"]"#, "fallbacks"),
        (r#","n_cmpl":8"#, "n_cmpl"),
    ] {
        let request = openai(more).expect(more);
        let name = field.split('[').next().unwrap_or_default();
        for allowed in [BTreeSet::new(), allowing("metadata")] {
            let refusal = request.unpriced(ProviderKind::Openai, &allowed).expect(more);
            assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::ModelUnpriced, &field.into()), "{more}");
            for dialect in [ProviderKind::Openai, ProviderKind::Anthropic] {
                let target = OutboundTarget { allowed_fields: &allowed, ..target() };
                assert_eq!(request.upstream_body(dialect, &target).unwrap_err().code, ErrorCode::ModelUnpriced);
            }
        }
        let allowed = allowing(name);
        let target = OutboundTarget { allowed_fields: &allowed, ..target() };
        assert!(request.unpriced(ProviderKind::Openai, &allowed).is_none(), "{more}");
        let sent = request.upstream_body(ProviderKind::Openai, &target).expect(more);
        assert!(std::str::from_utf8(&sent).unwrap().contains(more), "{more}");
    }
    let two = openai(r#","models":["a"],"plugins":[{"id":"web"}]"#).ok().unwrap();
    assert_eq!(two.unpriced(ProviderKind::Openai, &allowing("models")).unwrap().details["field"], "plugins");
    for part in ["input_audio", "video_url", "document"] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"{part}"}}]}}]}}"#);
        assert_eq!(parse(Surface::OpenAi, body).err().expect(part).code, ErrorCode::ModelUnpriced, "{part}");
    }
    for more in [
        r#","service_tier":"auto""#,
        r#","service_tier":null"#,
        r#","enable_search":false"#,
        r#","modalities":["text"]"#,
        r#","transforms":[],"models":[],"provider":{}"#,
    ] {
        assert!(openai(more).expect(more).unpriced(ProviderKind::Openai, &BTreeSet::new()).is_none(), "{more}");
    }
    for more in [r#","modalities":"audio""#, r#","tools":[7]"#, r#","tools":{}"#] {
        assert_eq!(openai(more).err().expect(more).code, ErrorCode::InvalidRequest, "{more}");
    }
}

/// Holds: event.unpriced
#[test]
fn a_tool_with_the_name_of_one_that_the_provider_runs_has_no_price_on_any_surface() {
    for name in ["$web_search", " $web_search", r"\u0024web_search"] {
        let plain = format!(r#"{{"name":"{name}"}}"#);
        let typed = format!(r#"{{"type":"function","name":"{name}"}}"#);
        let nested = format!(r#"{{"type":"function","function":{plain}}}"#);
        for (surface, tool) in [
            (Surface::Native, &plain),
            (Surface::OpenAi, &nested),
            (Surface::Anthropic, &plain),
            (Surface::Responses, &typed),
        ] {
            let ask = match surface {
                Surface::Responses => r#""model":"m","input":"x""#.to_owned(),
                Surface::Anthropic => format!(r#"{ASK},"max_tokens":5"#),
                _ => ASK.to_owned(),
            };
            let with = |tool: &str| parse(surface, format!(r#"{{{ask},"tools":[{tool}]}}"#));
            let own = with(&tool.replace(name, "web_search$")).expect("a tool of the client's");
            for kind in [ProviderKind::Openai, ProviderKind::Anthropic, ProviderKind::Ollama] {
                let sent = with(tool).and_then(|request| request.upstream_body(kind, &target()));
                let refusal = sent.expect_err("it is billed");
                assert_eq!(refusal.code, ErrorCode::ModelUnpriced, "{surface:?} {kind:?}");
                assert_eq!(refusal.details["field"], "tools[0]", "{surface:?} {kind:?}");
                assert!(own.upstream_body(kind, &target()).is_ok(), "{surface:?} {kind:?}");
            }
        }
    }
    let named = r#","tools":[{"name":"$web_search"}]"#;
    let allowed = BTreeSet::from(["tools".to_owned()]);
    assert!(anthropic(named).expect("a request").unpriced(ProviderKind::Anthropic, &allowed).is_none());
}

/// Holds: event.unpriced
#[test]
fn a_list_in_a_part_has_texts_and_references_alone() {
    let parse_list = |name: &str, elements: &str| {
        let part = format!(r#"{{"type":"{name}","{name}":[{elements}]}}"#);
        let message = format!(r#"{{"role":"assistant","content":[{part}]}}"#);
        parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{message}]}}"#))
    };
    let text = r#"{"type":"text","text":"x"}"#;
    let good = format!(r#"{text},"x",{{"type":"reference","reference_ids":[1]}}"#);
    for name in ["text", "thinking", "reasoning"] {
        assert!(parse_list(name, &good).is_ok(), "{name}");
        for bad in [
            r#"{"type":"image_url","image_url":{"url":"https://x.y/z.png"}}"#,
            r#"{"type":"text","text":"x","image_url":"https://x.y/z.png"}"#,
            r#"{"type":"file","file":{"file_id":"f"}}"#,
            r#"{"type":"text","text":"x","file_id":"f"}"#,
            r#"{"type":"input_audio"}"#,
            r#"{"type":"text","text":[{"type":"text","text":"x"}]}"#,
        ] {
            let refusal = parse_list(name, &format!("{text},{bad}")).err().unwrap_or_else(|| panic!("{name}: {bad}"));
            let field = format!("messages[0].content[0].{name}[1]");
            assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::ModelUnpriced, &field.into()), "{bad}");
        }
        let cached = r#"{"type":"text","text":"x","cache_control":{"ttl":"1h"}}"#;
        assert!(parse_list(name, cached).expect("a request").unpriced(ProviderKind::Openai, &NO_FIELDS).is_some());
        assert_eq!(parse_list(name, "7").err().expect("no text").code, ErrorCode::InvalidRequest);
    }
}

/// Holds: event.unpriced
#[test]
fn a_field_that_any_server_is_known_to_bill_by_is_refused_until_it_is_allowed() {
    for (name, value) in [
        ("additional_drop_params", r#"["max_tokens"]"#),
        ("deployment_id", r#""dear""#),
        ("azure", "true"),
        ("mock_testing_fallbacks", "true"),
        ("mock_testing_context_fallbacks", "true"),
        ("mock_testing_content_policy_fallbacks", "true"),
        ("candidate_count", "8"),
        ("candidateCount", "8"),
        ("response_modalities", r#"["IMAGE"]"#),
        ("responseModalities", r#"["TEXT","IMAGE"]"#),
        ("thinking_config", r#"{"thinking_budget":-1}"#),
        ("tags", r#"["paid"]"#),
        ("litellm_metadata", r#"{"tags":["paid"]}"#),
        ("guardrails", r#"["a"]"#),
        ("guardrailConfig", r#"{"guardrailIdentifier":"x"}"#),
        ("amazon-bedrock-guardrailConfig", r#"{"tagSuffix":"x"}"#),
        ("inferenceConfig", r#"{"maxTokens":99999}"#),
        ("anthropic_beta", r#"["context-1m-2025-08-07"]"#),
        ("betas", r#"["x"]"#),
        ("headers", r#"{"anthropic-beta":"context-1m"}"#),
        ("config", r#"{"max_output_tokens":9999}"#),
        ("litellm_params", r#"{"model":"dear"}"#),
        ("model_id", r#""x""#),
        ("input_cost_per_token", "0"),
        ("output_cost_per_token", "0"),
        ("file_ids", r#"["a"]"#),
        ("files", "[1]"),
        ("documents", "[{}]"),
        ("connectors", r#"[{"id":"web-search"}]"#),
        ("max_length", "99999"),
        ("max_gen_len", "9999"),
        ("max_tokens_to_sample", "9999"),
        ("maxTokenCount", "9999"),
        ("max_output_length", "9999"),
        ("parameters", r#"{"max_new_tokens":9999}"#),
        ("options", r#"{"num_predict":-1}"#),
        ("num_return_sequences", "8"),
        ("prompt_mode", r#""reasoning""#),
        ("kv_transfer_params", r#"{"remote_host":"x"}"#),
        ("priority", "-100"),
        ("debug", r#"{"echo_upstream_body":true}"#),
        ("chat_template_kwargs", r#"{"enable_thinking":false,"chat_template":"{{x}}"}"#),
        ("chat_template_kwargs", r#"{"tokenize":true}"#),
        ("chat_template_kwargs", r#"{"documents":[{}]}"#),
        ("chat_template_kwargs", r#"{"tools":[{}]}"#),
        ("chat_template_kwargs", r#"{"Chat-Template":"x"}"#),
        ("tools", r#"[{"type":"function","googleSearch":{}}]"#),
        ("tools", r#"[{"type":"function","function":{"name":"f"},"google_search":{}}]"#),
        ("tools", r#"[{"type":"custom","custom":{"name":"f"},"url_context":true}]"#),
        ("tools", r#"[{"function":{"name":"f"},"code_execution":{}}]"#),
        ("tools", r#"[{"type":"function","function":{"name":"$web_search"}}]"#),
        ("tools", r#"[{"type":"function","function":{"name":" \u0024web_search"}}]"#),
        ("tools", r#"[{"type":"custom","custom":{"name":"$x"}}]"#),
        ("functions", r#"[{"name":"$web_search"}]"#),
    ] {
        let request = openai(&format!(",\"{name}\":{value}")).expect(name);
        let refusal =
            request.unpriced(ProviderKind::Openai, &BTreeSet::new()).unwrap_or_else(|| panic!("{name}: {value}"));
        let field = refusal.details["field"].as_str().unwrap_or_default();
        assert_eq!(
            (refusal.code, field.starts_with(name)),
            (ErrorCode::ModelUnpriced, true),
            "{name}: {value}: {field}"
        );
        assert!(
            request.unpriced(ProviderKind::Openai, &BTreeSet::from([name.to_owned()])).is_none(),
            "{name}: {value}"
        );
    }
    // Spelled differently from every server's name.
    for name in ["candidatecount", "inference_config", "MAX-LENGTH", "kvTransferParams", "chatTemplateKwargs"] {
        let refusal = openai(&format!(",\"{name}\":8")).err().expect(name);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &name.into()));
    }
    for more in [
        r#","candidateCount":1,"num_return_sequences":1,"priority":0,"headers":{},"tags":[],"files":[],"azure":false"#,
        r#","response_modalities":["TEXT"]"#,
        r#","chat_template_kwargs":{"enable_thinking":false,"thinking":true,"documents":[],"tools":null}"#,
        r#","tools":[{"type":"function","function":{"name":"a$b"},"cache_control":{"type":"ephemeral"},"google_search":null}]"#,
        r#","tools":[{"type":"function","name":"f","description":"d","parameters":{},"strict":true}]"#,
        r#","functions":[{"name":"f"}]"#,
    ] {
        assert!(openai(more).expect(more).unpriced(ProviderKind::Openai, &BTreeSet::new()).is_none(), "{more}");
    }
}

/// Holds: event.unpriced
#[test]
fn a_message_that_brings_more_than_stands_in_it_is_refused() {
    for (message, field) in [
        (r#"{"role":"cache","content":"tag=x"}"#, "messages[0].role"),
        (r#"{"role":"Cache","content":"tag=x"}"#, "messages[0].role"),
        (r#"{"role":"user","content":"a","file_ids":["x"]}"#, "messages[0].file_ids"),
        (r#"{"role":"user","content":"a","files":[1]}"#, "messages[0].files"),
        (r#"{"role":"user","content":"a","attachments":[1]}"#, "messages[0].attachments"),
        (r#"{"role":"user","content":"a","documents":[1]}"#, "messages[0].documents"),
        (r#"{"role":"user","content":"a","images":["AAAA"]}"#, "messages[0].images"),
        (r#"{"role":"user","content":"a","videos":["AAAA"]}"#, "messages[0].videos"),
        (r#"{"role":"user","content":[{"type":"text","text":"a","file_id":"x"}]}"#, "messages[0].content[0]"),
        (r#"{"role":"user","content":[{"type":"text","text":"a","document_url":"x"}]}"#, "messages[0].content[0]"),
        (r#"{"role":"user","content":[{"type":"text","text":"a","audio_url":{"url":"x"}}]}"#, "messages[0].content[0]"),
        (r#"{"role":"user","content":[{"type":"text","text":"a","source":{"url":"x"}}]}"#, "messages[0].content[0]"),
        (
            r#"{"role":"user","content":[{"type":"image_url","image_url":"https://a.b/c","video_url":{"url":"x"}}]}"#,
            "messages[0].content[0]",
        ),
    ] {
        let refusal = parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{message}]}}"#));
        let refusal = refusal.err().expect(message);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::ModelUnpriced, &field.into()), "{message}");
    }
    for message in [
        r#"{"role":"user","content":"a","files":[],"images":null,"attachments":[]}"#,
        r#"{"role":"user","content":[{"type":"text","text":"a","file_id":null,"cache_control":{"type":"ephemeral"}}]}"#,
    ] {
        assert!(parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{message}]}}"#)).is_ok(), "{message}");
    }
}

/// Holds: event.unpriced
#[test]
fn a_cache_of_more_than_five_minutes_has_no_price_wherever_it_is_asked_for() {
    let with = |part: &str, message: &str, tool: &str, function: &str, top: &str| {
        let message = format!(r#"{{"role":"system","content":[{{"type":"text","text":"x"{part}}}]{message}}}"#);
        let tool = format!(r#"{{"type":"function","function":{{"name":"f"{function}}}{tool}}}"#);
        parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{message}],"tools":[{tool}]{top}}}"#))
    };
    let everywhere = |cached: &str| {
        [
            (with(cached, "", "", "", ""), "messages[0].content[0].cache_control"),
            (with("", cached, "", "", ""), "messages[0].cache_control"),
            (with("", "", cached, "", ""), "tools[0].cache_control"),
            (with("", "", "", cached, ""), "tools[0].function.cache_control"),
            (with("", "", "", "", cached), "cache_control"),
        ]
    };
    let allowed = BTreeSet::from(["cache_control".to_owned()]);
    for ttl in [r#""1h""#, r#""24h""#] {
        for (request, field) in everywhere(&format!(r#","cache_control":{{"type":"ephemeral","ttl":{ttl}}}"#)) {
            let request = request.expect(field);
            let refusal = request.unpriced(ProviderKind::Openai, &BTreeSet::new()).expect(field);
            assert_eq!(refusal.code, ErrorCode::ModelUnpriced);
            assert_eq!(refusal.details["field"], format!("{field}.ttl"));
            assert!(request.unpriced(ProviderKind::Openai, &allowed).is_none(), "{field}");
        }
    }
    for harmless in ["", r#","ttl":"5m""#, r#","ttl":null"#, r#","more":1"#] {
        for (request, field) in everywhere(&format!(r#","cache_control":{{"type":"ephemeral"{harmless}}}"#)) {
            assert!(
                request.is_ok_and(|request| request.unpriced(ProviderKind::Openai, &NO_FIELDS).is_none()),
                "{field}"
            );
        }
    }
    for (request, field) in everywhere(r#","cache_control":null"#) {
        assert!(request.is_ok(), "{field}");
    }
    for malformed in [r#","cache_control":{"type":"ephemeral","TTL":"1h"}"#, r#","cache_control":{"ttl":3600}"#] {
        for (request, field) in everywhere(malformed) {
            assert_eq!(request.err().expect(field).code, ErrorCode::InvalidRequest, "{field}: {malformed}");
        }
    }
    for cached in [r#","cacheControl":{}"#, r#","Cache_Control":{}"#] {
        for (request, field) in everywhere(cached) {
            assert_eq!(request.err().expect(field).code, ErrorCode::InvalidRequest, "{field}: {cached}");
        }
    }
    let injected = r#","cache_control_injection_points":[{"location":"message","control":{"ttl":"1h"}}]"#;
    assert!(openai(injected).expect(injected).unpriced(ProviderKind::Openai, &NO_FIELDS).is_some());
}

/// Holds: event.unpriced
#[test]
fn a_cache_of_more_than_five_minutes_has_no_price_in_calls_and_functions_either() {
    let with = |call: &str, called: &str, legacy: &str, function: &str| {
        let call =
            format!(r#"{{"id":"c","type":"function","function":{{"name":"f","arguments":"{{}}"{called}}}{call}}}"#);
        let message = format!(r#"{{"role":"assistant","tool_calls":[{call}]{legacy}}}"#);
        let legacy = format!(r#","functions":[{{"name":"f"{function}}}]"#);
        parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{message}]{legacy}}}"#))
    };
    let everywhere = |cached: &str| {
        let in_call = format!(r#","function_call":{{"name":"f","arguments":"{{}}"{cached}}}"#);
        [
            (with(cached, "", "", ""), "messages[0].tool_calls[0].cache_control"),
            (with("", cached, "", ""), "messages[0].tool_calls[0].function.cache_control"),
            (with("", "", &in_call, ""), "messages[0].function_call.cache_control"),
            (with("", "", "", cached), "functions[0].cache_control"),
        ]
    };
    let allowed = BTreeSet::from(["cache_control".to_owned()]);
    for (request, field) in everywhere(r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#) {
        let request = request.expect(field);
        let refusal = request.unpriced(ProviderKind::Openai, &BTreeSet::new()).expect(field);
        assert_eq!(refusal.details["field"], format!("{field}.ttl"));
        assert!(request.unpriced(ProviderKind::Openai, &allowed).is_none(), "{field}");
    }
    for harmless in [r#","cache_control":{"type":"ephemeral","ttl":"5m"}"#, r#","cache_control":null"#] {
        for (request, field) in everywhere(harmless) {
            assert!(request.expect(field).unpriced(ProviderKind::Openai, &NO_FIELDS).is_none(), "{field}");
        }
    }
    for malformed in [r#","cache_control":{"TTL":"1h"}"#, r#","cache_control":{"ttl":3600}"#, r#","cacheControl":{}"#] {
        for (request, field) in everywhere(malformed) {
            assert_eq!(request.err().expect(field).code, ErrorCode::InvalidRequest, "{field}: {malformed}");
        }
    }
}

#[test]
fn a_mark_for_caching_at_a_call_follows_the_call() {
    let mark = r#","cache_control":{"type":"ephemeral"}"#;
    for (call, called) in [(mark, ""), ("", mark)] {
        let call = format!(r#"{{"id":"c","function":{{"name":"f","arguments":"{{}}"{called}}}{call}}}"#);
        let request = parse(
            Surface::OpenAi,
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{call}]}},{{"role":"tool","tool_call_id":"c","content":"y"}}]}}"#
            ),
        );
        let sent = request.expect("calls").upstream_body(ProviderKind::Anthropic, &target()).expect("a body");
        let sent: serde_json::Value = serde_json::from_slice(&sent).expect("JSON");
        let block = &sent["messages"][1]["content"][0];
        assert_eq!((&block["type"], &block["cache_control"]["type"]), (&"tool_use".into(), &"ephemeral".into()));
    }
}

/// Holds: event.unpriced
#[test]
fn what_is_given_as_an_image_is_one_however_it_is_written() {
    let with_image = |image: &str| {
        let part = format!(r#"{{"type":"image_url","image_url":{image}}}"#);
        parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#))
    };
    for image in [
        r#"{"url":"data:application/pdf;base64,JVBERi0="}"#,
        r#"{"url":"DATA:application/pdf;base64,JVBERi0="}"#,
        r#"{"url":"data:application/pdf;BASE64,JVBERi0="}"#,
        r#"{"url":"data:application/pdf,%25PDF"}"#,
        r#"{"url":"data:;base64,JVBERi0="}"#,
        r#"{"url":"x data:application/pdf;base64,JVBERi0="}"#,
        r#"{"url":" data:image/png;base64,JVBERi0="}"#,
        r#"{"url":"gs://bucket/video.mp4"}"#,
        r#"{"url":"file:///etc/passwd"}"#,
        r#"{"url":"s3://bucket/a.png"}"#,
        r#"{"url":"iVBORw0KGgo="}"#,
        r#""gs://bucket/video.mp4""#,
        r#"{"url":"data:image/png;base64,JVBERi0=","format":"application/pdf"}"#,
        r#"{"url":"https://x.y/a.pdf","format":"video/mp4"}"#,
        r#"{"url":"https://x.y/a.png","max_pixels":99999999}"#,
    ] {
        assert_eq!(with_image(image).err().expect(image).code, ErrorCode::ModelUnpriced, "{image}");
    }
    for image in [
        r#"{"url":"HTTPS://x.y/a.png","detail":"low","format":null}"#,
        r#"{"url":"http://x.y/a.png"}"#,
        r#""https://x.y/a.png""#,
        r#"{"url":"data:image/svg+xml,%3Csvg/%3E"}"#,
    ] {
        assert!(with_image(image).is_ok(), "{image}");
    }
    // `;base64` is recognised in any case.
    let base64 = "A".repeat(1_000_000);
    for head in ["data:image/png;base64", "Data:Image/PNG;Base64", "data:image/png;charset=x;BASE64"] {
        let request = with_image(&format!(r#"{{"url":"{head},{base64}"}}"#)).expect(head);
        assert!(request.input_tokens_bound() < IMAGE_TOKENS_MAX + 400, "{head}");
        let native = format!(r#"{{"type":"image","url":"{head},{base64}"}}"#);
        let native = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{native}]}}]}}"#);
        let native = parse(Surface::Native, native).expect(head);
        assert!(native.input_tokens_bound() < IMAGE_TOKENS_MAX + 400, "{head}");
    }
}

/// Holds: event.unpriced
#[test]
fn what_raises_the_cost_is_refused_or_held_on_every_surface() {
    const MUCH: u64 = 100_000;
    let value = |name: &str| match name {
        "chat_template_kwargs" => format!(r#"{{"thinking_budget":{MUCH}}}"#),
        "functions" => r#"[{"name":"$web_search"}]"#.to_owned(),
        "reasoning" | "thinking" => format!(r#"{{"budget_tokens":{MUCH}}}"#),
        _ => MUCH.to_string(),
    };
    for surface in Surface::ALL {
        let spec = surface.spec();
        let ask = match surface {
            Surface::Anthropic => format!(r#"{ASK},"max_tokens":5"#),
            Surface::Responses | Surface::OpenAiEmbeddings => r#""model":"m","input":"x""#.to_owned(),
            Surface::Completions => r#""model":"m","prompt":"x""#.to_owned(),
            Surface::OpenAi | Surface::Native => ASK.to_owned(),
        };
        // Surfaces without a list of their own refuse what they do not know.
        let own = (spec.unpriced_fields)();
        let names = if own.is_empty() { surfaces::unpriced_fields().collect() } else { own };
        for name in names.into_iter().chain(surfaces::priceable::MINIMA) {
            let Ok(request) = parse(*surface, format!(r#"{{{ask},"{name}":{}}}"#, value(name))) else { continue };
            let Some(cap) = request.facts.output_cap else { continue };
            let is_held = request.facts.reserved_output.needed() == MUCH;
            let is_cap = cap.field == name && cap.tokens == Some(MUCH);
            let is_refused = request.unpriced(ProviderKind::Openai, &BTreeSet::new()).is_some();
            assert!(is_held || is_cap || is_refused, "{} {name}", spec.name);
        }
    }
}

use events::event::admin::OutputCapField;
use events::refusal::ErrorCode;

use super::*;
use crate::upstreams::openai::server::deviations;
use crate::{Metered, NO_FIELDS, RequestedCap, Server, UpstreamCap, json};

const ASK: &str = r#""model":"m","messages":[{"role":"user","content":"hello"}]"#;

fn parse(surface: Surface, body: impl Into<Bytes>) -> Result<ClientRequest, Refusal> {
    ClientRequest::parse(surface, body.into())
}

fn target() -> OutboundTarget<'static> {
    OutboundTarget {
        model: "b",
        output_cap: UpstreamCap { tokens: 9, field: None },
        context_window: None,
        system_prefix: None,
        allowed_fields: &NO_FIELDS,
        server: None,
    }
}

fn openai(more: &str) -> Result<ClientRequest, Refusal> {
    parse(Surface::OpenAi, format!("{{{ASK}{more}}}"))
}

fn anthropic(more: &str) -> Result<ClientRequest, Refusal> {
    parse(Surface::Anthropic, format!("{{{ASK},\"max_tokens\":5{more}}}"))
}

/// A request whose only message has these blocks.
fn with_blocks(blocks: &str) -> Result<ClientRequest, Refusal> {
    let body = format!(r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{blocks}]}}]}}"#);
    parse(Surface::Anthropic, body)
}

fn cap(request: &ClientRequest) -> RequestedCap {
    request.facts.output_cap.expect("a chat has a cap")
}

#[test]
fn facts_are_read_on_all_surfaces() {
    let request =
        openai(r#","stream":true,"stream_options":{"include_usage":true},"n":3,"max_tokens":7,"metadata":{"a":"b"}"#);
    let request = request.ok().unwrap();
    assert_eq!((&*request.facts.model, request.facts.streamed, request.facts.include_usage), ("m", true, true));
    assert_eq!((request.facts.choices, cap(&request).tokens), (3, Some(7)));
    assert_eq!(request.facts.metadata["a"], "b");
    let anthropic = anthropic(r#","stream":true,"thinking":{"type":"enabled","budget_tokens":4}"#).ok().unwrap();
    assert_eq!((&*anthropic.facts.model, anthropic.facts.streamed, anthropic.facts.choices), ("m", true, 1));
    assert_eq!((cap(&anthropic).field, cap(&anthropic).tokens), ("max_tokens", Some(5)));
    assert_eq!((anthropic.facts.output_tokens_needed, anthropic.facts.has_tools), (4, false));
    let native = parse(Surface::Native, format!("{{{ASK},\"max_output_tokens\":5}}")).ok().unwrap();
    assert_eq!((cap(&request).field, cap(&native).field), ("max_tokens", "max_output_tokens"));
    let newer = openai(r#","max_tokens":null,"max_completion_tokens":7"#).ok().unwrap();
    assert_eq!(cap(&newer).field, "max_completion_tokens");
    assert_eq!((&*native.facts.model, native.facts.streamed, native.facts.choices), ("m", false, 1));
    assert_eq!(cap(&native).tokens, Some(5));
}

#[test]
fn what_is_malformed_is_400_on_all_surfaces() {
    let deep = format!(r#"{{"messages":{}"#, "[".repeat(100_000));
    for body in
        ["", "{", "[]", "7", "null", "\"x\"", r#"{"model":"#, "\u{feff}{}", "{}", "{} x", &deep, &"[".repeat(100_000)]
    {
        for surface in Surface::ALL.iter().copied() {
            let refusal = parse(surface, body.to_owned()).err().expect(body);
            assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{body:.40}");
        }
    }
    assert!(parse(Surface::OpenAi, &b"\xff\xfe"[..]).is_err());
    assert!(parse(Surface::Native, &b"{\"model\":\"\xc3\"}"[..]).is_err());
}

#[test]
fn a_nul_anywhere_is_400_and_a_backslash_before_it_is_not() {
    let say = |text: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    for surface in [Surface::Native, Surface::OpenAi] {
        assert!(parse(surface, say(r"a\u0000b")).is_err());
        assert!(parse(surface, say(r"a\\u0000b")).is_ok());
        assert!(parse(surface, say(r"a\\\u0000b")).is_err());
    }
}

#[test]
fn openai_fields_that_matter_are_checked() {
    for (more, field) in [
        (r#","max_tokens":-5"#, "max_tokens"),
        (r#","max_tokens":0"#, "max_tokens"),
        (r#","max_tokens":1.5"#, "max_tokens"),
        (r#","max_tokens":1e3"#, "max_tokens"),
        (r#","max_tokens":"7""#, "max_tokens"),
        (r#","max_tokens":1000000000000000000000000000000"#, "max_tokens"),
        (r#","max_tokens":1,"max_completion_tokens":1"#, "max_completion_tokens"),
        (r#","max_tokens":1,"max_tokens":1"#, "max_tokens"),
        (r#","max_tokens":1,"max_\u0074okens":9"#, "max_tokens"),
        (r#","MAX_TOKENS":1"#, "MAX_TOKENS"),
        (r#","N":2"#, "N"),
        (r#","N_Predict":2"#, "N_Predict"),
        (r#","n":0"#, "n"),
        (r#","n":129"#, "n"),
        (r#","stream":"yes""#, "stream"),
        (r#","stream_options":[]"#, "stream_options"),
        (r#","stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#","maxTokens":1"#, "maxTokens"),
        (r#","max-completion-tokens":1"#, "max-completion-tokens"),
        (",\"max_token\u{17f}\":1", "max_token\u{17f}"),
        (r#","max_to\u212aens":1"#, "max_to\u{212a}ens"),
        (",\"anything\u{e9}\":1", "anything\u{e9}"),
        (r#","stream_options":{"Include_Usage":false}"#, "stream_options.Include_Usage"),
        (r#","stream_options":{"include_u\u017fage":false}"#, "stream_options.include_u\u{17f}age"),
        (r#","tools":[{"type":"function","Function":{"name":"f"}}]"#, "tools[0].Function"),
        (r#","tools":[{"type":"function","function":{"name":"f","na\u212ae":"g"}}]"#, "tools[0].function.na\u{212a}e"),
        (r#","tool_choice":{"type":"function","function":{"Name":"f"}}"#, "tool_choice.function.Name"),
        (r#","response_format":{"type":"text","jsonSchema":{}}"#, "response_format.jsonSchema"),
        (
            r#","response_format":{"type":"json_schema","json_schema":{"\u017fchema":{}}}"#,
            "response_format.json_schema.\u{17f}chema",
        ),
        (r#","reasoning":{"max_to\u212aens":9}"#, "reasoning.max_to\u{212a}ens"),
        (r#","thinking":{"budgetTokens":9}"#, "thinking.budgetTokens"),
        (r#","metadata":{"a":{}}"#, "metadata.a"),
    ] {
        let refusal = openai(more).err().expect(more);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()), "{more}");
    }
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","messages":{}}"#,
        r#"{"model":"m","messages":["hello"]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":7}]}"#,
        r#"{"model":"m","messages":[{"role":"user","Content":[]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"text":"no type"}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","type":"input_audio"}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","Image_URL":{}}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","imageUrl":{}}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","\u017f":1}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x","URL":"y"}}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x","\u017f":1}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#,
        r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","Function":{}}]}]}"#,
        r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","\u212a":1}}]}]}"#,
        r#"{"model":7,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}]}"#,
    ] {
        let refusal = parse(Surface::OpenAi, body).err().expect(body);
        assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{body}");
    }
    for more in [
        r#","max_tokens":null,"n":null,"stream":null,"stream_options":null,"metadata":null"#,
        r#","x":{"a":1,"a":2}"#,
        // Names of the client's choice may be any.
        r#","logit_bias":{"é":1},"metadata":{"naïve":"x"},"unknown":{"\u017f":1}"#,
        r#","tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"größe":{},"Type":{}}}}}]"#,
        r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"Größe":1,"Schema":2}}}"#,
    ] {
        assert!(openai(more).is_ok(), "{more}");
    }
}

#[test]
fn a_name_that_is_not_ascii_is_refused_on_the_native_surface() {
    let native = |more: &str, inside: &str, block: &str| {
        let message = format!(r#"{{"role":"user","content":[{{"type":"text","text":"x"{block}}}]{inside}}}"#);
        parse(Surface::Native, format!(r#"{{"model":"m","messages":[{message}]{more}}}"#))
    };
    for (more, inside, block, field) in [
        (",\"max_output_token\u{17f}\":9", "", "", "max_output_token\u{17f}"),
        (r#","max_output_to\u212aens":9"#, "", "", "max_output_to\u{212a}ens"),
        ("", r#","\u017f":1"#, "", "messages[0].\u{17f}"),
        ("", "", r#","\u017f":1"#, "messages[0].content[0].\u{17f}"),
        (r#","tools":[{"name":"f","\u017ftrict":true}]"#, "", "", "tools[0].\u{17f}trict"),
        (r#","reasoning":{"\u017f":1}"#, "", "", "reasoning.\u{17f}"),
    ] {
        let refusal = native(more, inside, block).err().expect(field);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()));
    }
    let own = r#","metadata":{"naïve":"x"},"tools":[{"name":"f","parameters":{"größe":{}}}]"#;
    assert!(native(own, "", "").is_ok());
}

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
    for part in ["input_audio", "file", "video_url", "document"] {
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

/// Holds: admin.caps
#[test]
fn the_cap_goes_upstream_once_whatever_is_null() {
    let target =
        |cap_field| OutboundTarget { output_cap: UpstreamCap { tokens: 9, field: Some(cap_field) }, ..target() };
    for more in [
        "",
        r#","max_tokens":null"#,
        r#","max_completion_tokens":null"#,
        r#","max_tokens":null,"max_completion_tokens":null"#,
        r#","max_completion_tokens":null,"max_tokens":null"#,
    ] {
        let request = openai(more).ok().unwrap();
        for cap_field in [OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens] {
            let body = request.upstream_body(ProviderKind::Openai, &target(cap_field)).unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            let caps: Vec<_> = json::members(body)
                .map(Result::unwrap)
                .filter(|member| member.name() == cap_field.as_str())
                .map(|member| member.value.to_owned())
                .collect();
            assert_eq!(caps, ["9"], "{body}");
        }
    }
}

/// Holds: admin.output-cap-field
#[test]
fn a_cap_goes_upstream_under_the_targets_name_where_that_was_given_and_else_under_the_clients_own() {
    use OutputCapField::{MaxCompletionTokens, MaxTokens};
    for (more, of_client) in [
        (r#","max_tokens":7"#, Some(MaxTokens)),
        (r#","max_completion_tokens":7"#, Some(MaxCompletionTokens)),
        (r#","max_completion_tokens":7,"max_tokens":null"#, Some(MaxCompletionTokens)),
        (r#","max_tokens":null,"max_completion_tokens":7"#, Some(MaxCompletionTokens)),
        (r#","max_tokens":7,"max_completion_tokens":null"#, Some(MaxTokens)),
        ("", None),
        (r#","max_completion_tokens":null"#, None),
    ] {
        let request = openai(more).ok().unwrap();
        for of_target in [None, Some(MaxTokens), Some(MaxCompletionTokens)] {
            let target = OutboundTarget { output_cap: UpstreamCap { tokens: 9, field: of_target }, ..target() };
            let body = request.upstream_body(ProviderKind::Openai, &target).unwrap();
            let caps: Vec<_> = json::members(std::str::from_utf8(&body).unwrap())
                .map(Result::unwrap)
                .filter(|member| member.name().starts_with("max_"))
                .map(|member| (member.name().to_owned(), member.value))
                .collect();
            let sent = of_target.or(of_client).unwrap_or(MaxTokens).as_str().to_owned();
            let (given, empty): (Vec<_>, Vec<_>) = caps.into_iter().partition(|(_, value)| *value != "null");
            assert_eq!(given, [(sent.clone(), "9")], "{more} for {of_target:?}");
            assert!(empty.iter().all(|(name, _)| *name != sent), "{more} for {of_target:?}");
        }
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

#[test]
fn an_images_base64_is_not_counted_as_text() {
    let base64 = "A".repeat(1_000_000);
    let with = |url: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_\u0075rl","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let bound = |body: String| parse(Surface::OpenAi, body).ok().unwrap().input_tokens_bound();
    let empty = bound(with("data:image/png;base64,"));
    assert_eq!(bound(with(&format!("data:image/png;base64,{base64}"))), empty);
    assert!(empty > IMAGE_TOKENS_MAX && empty < IMAGE_TOKENS_MAX + 400);
    assert!(bound(with("https://example.com/x.png")) > IMAGE_TOKENS_MAX);
    assert!(bound(with(&format!("data:image/png,{base64}"))) > 1_000_000);
    let document = parse(Surface::OpenAi, with(&format!("data:application/pdf;base64,{base64}")));
    assert_eq!(document.err().map(|refusal| refusal.code), Some(ErrorCode::ModelUnpriced));
    let native = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","media_type":"image/png","data":"{base64}"}}]}}]}}"#
    );
    let native = parse(Surface::Native, native).ok().unwrap().input_tokens_bound();
    assert!(native > IMAGE_TOKENS_MAX && native < IMAGE_TOKENS_MAX + 400);
}

#[test]
fn what_is_all_empty_is_refused_for_every_upstream() {
    let target = OutboundTarget { system_prefix: Some("p"), ..target() };
    let body = r#"{"model":"m","messages":[{"role":"user","content":[]}]}"#;
    let request = parse(Surface::Native, body).ok().unwrap();
    for dialect in [ProviderKind::Openai, ProviderKind::Anthropic] {
        let refusal = request.upstream_body(dialect, &target).unwrap_err();
        assert_eq!(refusal.details["field"], "messages", "{dialect:?}");
    }
}

#[test]
fn a_refusal_is_short_whatever_the_client_calls_its_fields() {
    let long = "a".repeat(100_000);
    for body in [
        format!(r#"{{{ASK},"{long}":1,"{long}":1}}"#),
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"{long}"}}]}}]}}"#),
        format!(r#"{{{ASK},"metadata":{{"{long}":"x"}}}}"#),
    ] {
        for surface in [Surface::Native, Surface::OpenAi] {
            let refusal = parse(surface, body.clone()).err().unwrap();
            assert!(refusal.message.len() < 1000, "{:.200}", refusal.message);
        }
    }
}

#[test]
fn text_is_bounded_by_its_bytes_and_tools_by_their_prompt() {
    let plain = openai("").ok().unwrap().input_tokens_bound();
    assert_eq!(plain, ASK.len() as u64 + 2 + TEMPLATE_TOKENS_MAX);
    let tools = r#","tools":[{"type":"function","function":{"name":"x"}}]"#;
    let with_tools = openai(tools).ok().unwrap().input_tokens_bound();
    assert_eq!(with_tools, plain + tools.len() as u64 + TOOL_PROMPT_TOKENS_MAX);
}

fn for_server(server: Server) -> OutboundTarget<'static> {
    OutboundTarget { server: Some(server), ..target() }
}

/// The body for a server, or the field that is refused, of a request of the OpenAI surface.
fn passed_on(server: Server, more: &str) -> Result<serde_json::Value, String> {
    let sent = openai(more).expect("a request").upstream_body(ProviderKind::Openai, &for_server(server));
    sent.map(|body| serde_json::from_slice(&body).expect("JSON"))
        .map_err(|refusal| refusal.details["field"].as_str().unwrap_or_default().to_owned())
}

/// Holds: admin.server, admin.output-cap-field
#[test]
fn a_server_is_sent_only_what_it_takes() {
    use serde_json::json;
    let base = || json!({"model": "b", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9});
    let with = |more: serde_json::Value| {
        let mut body = base();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (server, more, wanted) in [
        (Server::Mistral, r#","seed":7"#, with(json!({"random_seed": 7}))),
        (Server::Mistral, r#","seed":7,"random_seed":8"#, with(json!({"random_seed": 8}))),
        (Server::Mistral, r#","stream":true"#, with(json!({"stream": true}))),
        (
            Server::Mistral,
            r#","stream_options":{"include_usage":true},"stream":true,"user":"u""#,
            with(json!({"stream": true})),
        ),
        (Server::Mistral, r#","max_completion_tokens":5,"logit_bias":null,"functions":[]"#, base()),
        (Server::Mistral, r#","store":true,"n":2,"metadata":{"a":"b"},"top_k":3"#, with(json!({"n": 2, "top_k": 3}))),
        (Server::Mistral, r#","tool_choice":"required""#, with(json!({"tool_choice": "required"}))),
        (Server::Mistral, r#","max_tokens":5,"max_completion_tokens":null"#, base()),
        (Server::Mistral, r#","max_completion_tokens":5,"max_tokens":null"#, base()),
        (Server::Mistral, r#","max_completion_tokens":null,"max_tokens":null"#, base()),
        (Server::Groq, r#","max_completion_tokens":5,"max_tokens":null"#, {
            let mut body = with(json!({"max_completion_tokens": 9}));
            body.as_object_mut().unwrap().remove("max_tokens");
            body
        }),
        (Server::Groq, r#","n":1,"logprobs":false,"logit_bias":{}"#, with(json!({"n": 1}))),
        (
            Server::Groq,
            r#","stream":true,"safety_identifier":"x""#,
            with(json!({"stream": true, "stream_options": {"include_usage": true}})),
        ),
        (Server::Deepseek, r#","max_completion_tokens":5,"unknown":1"#, with(json!({"unknown": 1}))),
        (Server::Other, r#","seed":7,"unknown":1"#, with(json!({"seed": 7, "unknown": 1}))),
    ] {
        assert_eq!(passed_on(server, more), Ok(wanted), "{server} {more}");
    }
    for (server, more, field) in [
        (Server::Mistral, r#","logit_bias":{"1":2}"#, "logit_bias"),
        (Server::Mistral, r#","unknown":1"#, "unknown"),
        (Server::Groq, r#","n":2"#, "n"),
        (Server::Groq, r#","logprobs":true"#, "logprobs"),
        (Server::Groq, r#","top_logprobs":2"#, "top_logprobs"),
        (Server::Groq, r#","unknown":true"#, "unknown"),
    ] {
        assert_eq!(passed_on(server, more), Err(field.to_owned()), "{server} {more}");
    }
    let openai = passed_on(Server::Openai, r#","max_tokens":5"#).unwrap();
    assert_eq!((openai["max_completion_tokens"].as_u64(), openai.get("max_tokens")), (Some(9), None));
    let given = OutboundTarget {
        output_cap: UpstreamCap { tokens: 9, field: Some(OutputCapField::MaxTokens) },
        ..for_server(Server::Openai)
    };
    let body = super::ClientRequest::parse(Surface::OpenAi, format!("{{{ASK}}}").into()).expect("a request");
    let sent = body.upstream_body(ProviderKind::Openai, &given).expect("a body");
    assert!(std::str::from_utf8(&sent).unwrap().contains(r#""max_tokens":9"#), "what the operator gave comes first");
}

/// A conversation as OpenAI's clients send it back.
const SENT_BACK: &str = r#"{"model":"m","messages":[
    {"role":"developer","content":"be brief","name":"house"},
    {"role":"user","content":"hi","tool_calls":null},
    {"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,"function_call":null,
     "reasoning_content":"hm","tool_calls":[
        {"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"D681PevKs","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"call_1","name":"f","content":"1"},
    {"tool_call_id":"D681PevKs","content":"2","role":"tool"}
]}"#;

/// Holds: admin.server
#[test]
fn messages_that_clients_send_back_are_made_fit_for_strict_servers() {
    use serde_json::json;
    let request = parse(Surface::OpenAi, SENT_BACK).expect("a request");
    let sent = |server: Server| -> serde_json::Value {
        let body = request.upstream_body(ProviderKind::Openai, &for_server(server)).expect("a body");
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")["messages"].take()
    };
    let short = deviations(Server::Mistral).call_id("call_1").into_owned();
    let messages = |system: &str, id: &str| {
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        json!([
            {"role": system, "content": "be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [call(id), call("D681PevKs")]},
            {"role": "tool", "tool_call_id": id, "content": "1"},
            {"role": "tool", "tool_call_id": "D681PevKs", "content": "2"},
        ])
    };
    assert_eq!(sent(Server::Mistral), messages("system", &short));
    assert_eq!(sent(Server::Groq), messages("developer", "call_1"));
    let deepseek = sent(Server::Deepseek);
    assert_eq!((&deepseek[0]["role"], &deepseek[2]["reasoning_content"]), (&json!("system"), &json!("hm")));
    // Without deviations, nothing in the messages is touched.
    let given: serde_json::Value = serde_json::from_str(SENT_BACK).unwrap();
    assert_eq!(sent(Server::Openai), given["messages"]);
}

/// Holds: admin.server
#[test]
fn a_translated_request_has_the_servers_names_too() {
    use serde_json::json;
    let body = r#"{"model":"m","stream":true,"seed":7,"user":"u","messages":[{"role":"user","content":"hi"},
        {"role":"assistant","content":[{"type":"reasoning","text":"hm"},{"type":"tool_call","id":"call_1","name":"f","arguments":{}}]},
        {"role":"tool","content":[{"type":"tool_result","id":"call_1","content":"1"}]}]}"#;
    let request = parse(Surface::Native, body).expect("a request");
    let sent = |server: Server| -> serde_json::Value {
        let body = request.upstream_body(ProviderKind::Openai, &for_server(server)).expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    };
    let mistral = sent(Server::Mistral);
    let short = deviations(Server::Mistral).call_id("call_1").into_owned();
    assert_eq!(mistral["messages"][1]["tool_calls"][0]["id"], json!(short));
    assert_eq!(mistral["messages"][2]["tool_call_id"], json!(short));
    for absent in ["seed", "user", "stream_options", "max_completion_tokens"] {
        assert!(mistral.get(absent).is_none(), "{absent}");
    }
    assert!(mistral["messages"][1].get("reasoning_content").is_none());
    assert_eq!((&mistral["random_seed"], &mistral["max_tokens"]), (&json!(7), &json!(9)));
    let lenient = sent(Server::Other);
    assert_eq!((&lenient["seed"], &lenient["messages"][1]["reasoning_content"]), (&json!(7), &json!("hm")));
    let several = parse(Surface::Native, format!("{{{ASK},\"n\":2}}")).expect("a request");
    let refusal = several.upstream_body(ProviderKind::Openai, &for_server(Server::Groq)).expect_err("a refusal");
    assert_eq!(refusal.details["field"], "n");
    assert!(refusal.message.contains("groq"), "{}", refusal.message);
}

/// Holds: inf.anthropic-bad-input
#[test]
fn anthropic_fields_that_matter_are_checked() {
    for (more, field) in [
        (r#","MAX_TOKENS":9"#, "MAX_TOKENS"),
        (r#","stopSequences":[]"#, "stopSequences"),
        (r#","Speed":"fast""#, "Speed"),
        (r#","stream":"yes""#, "stream"),
        (r#","system":7"#, "system"),
        (r#","system":[{"type":"image"}]"#, "system[0].type"),
        (r#","system":[{"type":"text","Text":"x"}]"#, "system[0].Text"),
        (r#","thinking":{"type":"enabled","budgetTokens":9}"#, "thinking.budgetTokens"),
        (r#","thinking":{"type":"enabled","budget_tokens":-1}"#, "thinking.budget_tokens"),
        (r#","thinking":{"type":"enabled","budget_tokens":5}"#, "thinking.budget_tokens"),
        (r#","n":2"#, "n"),
        (r#","max_completion_tokens":5"#, "max_completion_tokens"),
        (r#","output_config":{"Effort":"low"}"#, "output_config.Effort"),
        (r#","tool_choice":{"Type":"any"}"#, "tool_choice.Type"),
        (r#","tools":[{"Name":"f"}]"#, "tools[0].Name"),
        (r#","tools":{}"#, "tools"),
        (r#","cache_control":{"type":"ephemeral","TTL":"1h"}"#, "cache_control.TTL"),
        (r#","metadata":{"userId":"u"}"#, "metadata.userId"),
    ] {
        let refusal = anthropic(more).err().expect(more);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()), "{more}");
    }
    for (blocks, field) in [
        ("7", "messages[0].content[0]"),
        (r#"{"type":"text"}"#, "messages[0].content[0].text"),
        (r#"{"type":"text","text":7}"#, "messages[0].content[0].text"),
        (r#"{"type":"image"}"#, "messages[0].content[0].source"),
        (r#"{"type":"image","source":{"type":"url","url":"ftp://x"}}"#, "messages[0].content[0].source.url"),
        (
            r#"{"type":"image","source":{"type":"url","url":"data:image/png;base64,AA"}}"#,
            "messages[0].content[0].source.url",
        ),
        (
            r#"{"type":"image","source":{"type":"base64","media_type":"text/html","data":""}}"#,
            "messages[0].content[0].source.media_type",
        ),
        (r#"{"type":"document","source":{"type":"magic"}}"#, "messages[0].content[0].source.type"),
        (r#"{"type":"tool_result","tool_use_id":"a"}"#, "messages[0].content[0].tool_use_id"),
        (r#"{"type":"thinking","thinking":""}"#, "messages[0].content[0]"),
    ] {
        let refusal = with_blocks(blocks).err().expect(blocks);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()), "{blocks}");
    }
}

/// Holds: inf.anthropic-bound
#[test]
fn images_and_tools_of_anthropic_are_bounded_and_documents_count_as_the_whole_context() {
    let plain = with_blocks(r#"{"type":"text","text":"x"}"#).ok().unwrap();
    assert!(!plain.has_documents() && plain.input_tokens_bound() < 400);
    let base64 = "A".repeat(100_000);
    let image =
        format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{base64}"}}}}"#);
    let image = with_blocks(&image).ok().unwrap();
    assert!((IMAGE_TOKENS_MAX..IMAGE_TOKENS_MAX + 400).contains(&image.input_tokens_bound()));
    for (document, is_whole_context) in [
        (format!(r#"{{"type":"base64","media_type":"application/pdf","data":"{base64}"}}"#), true),
        (r#"{"type":"url","url":"https://example.com/a.pdf"}"#.to_owned(), true),
        (r#"{"type":"text","media_type":"text/plain","data":"x"}"#.to_owned(), false),
        (r#"{"type":"content","content":[{"type":"text","text":"x"}]}"#.to_owned(), false),
    ] {
        let read =
            |more: &str| with_blocks(&format!(r#"{{"type":"document","source":{document}{more}}}"#)).ok().unwrap();
        assert_eq!(read("").has_documents(), is_whole_context, "{document:.40}");
        assert!(read("").input_tokens_bound() < 600, "{document:.40}");
        // Marks between its sentences are not in the body.
        assert!(read(r#","citations":{"enabled":true}"#).has_documents(), "{document:.40}");
    }
    let bash = anthropic(r#","tools":[{"type":"bash_20250124","name":"bash"}]"#).ok().unwrap();
    assert!(bash.input_tokens_bound() > 2_048 + TOOL_PROMPT_TOKENS_MAX);
}

/// Holds: admin.allowed-fields
#[test]
fn what_changes_the_price_at_anthropic_goes_where_it_is_allowed() {
    let blocks = |blocks: &str| format!(r#","messages":[{{"role":"assistant","content":[{blocks}]}}]"#);
    for (more, name) in [
        (r#","speed":"fast""#.to_owned(), "speed"),
        (r#","inference_geo":"us""#.to_owned(), "inference_geo"),
        (r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#.to_owned(), "cache_control"),
        (r#","tools":[{"name":"f","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#.to_owned(), "cache_control"),
        (r#","tools":[{"type":"web_search_20250305","name":"web_search"}]"#.to_owned(), "tools"),
        (blocks(r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{}}"#), "tools"),
        (blocks(r#"{"type":"mcp_tool_use","id":"a"}"#), "mcp_servers"),
        (blocks(r#"{"type":"compaction","content":"x"}"#), "context_management"),
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":5{more}"#);
        let body = if more.contains("messages") {
            body + "}"
        } else {
            body + r#","messages":[{"role":"user","content":"x"}]}"#
        };
        let request = parse(Surface::Anthropic, body).expect(&more);
        let refusal = request.unpriced(ProviderKind::Anthropic, &BTreeSet::new()).expect(&more);
        assert!(refusal.code == ErrorCode::ModelUnpriced && refusal.message.contains(name), "{more}");
        assert!(request.upstream_body(ProviderKind::Anthropic, &target()).is_err(), "{more}");
        assert!(request.unpriced(ProviderKind::Anthropic, &BTreeSet::from([name.to_owned()])).is_none(), "{more}");
    }
}

/// Holds: http.anthropic-headers
#[test]
fn headers_go_on_to_the_same_dialect_alone_and_cost_only_there() {
    let mut headers = http::HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
    headers.insert("anthropic-beta", HeaderValue::from_static("context-1m-2025-08-07"));
    let read = (Surface::Anthropic.spec().read_headers)(&headers).ok().unwrap();
    let request = anthropic("").ok().unwrap().with_headers(read);
    assert_eq!(request.headers_for(ProviderKind::Anthropic).len(), 2);
    assert!(request.headers_for(ProviderKind::Openai).is_empty());
    assert!(request.unpriced(ProviderKind::Anthropic, &BTreeSet::new()).is_some());
    assert!(request.unpriced(ProviderKind::Openai, &BTreeSet::new()).is_none());
    let others = (Surface::OpenAi.spec().read_headers)(&headers).ok().unwrap();
    assert!(openai("").ok().unwrap().with_headers(others).forwarded_headers().is_empty());
}

#[test]
fn a_long_name_is_not_repeated_with_its_result() {
    for (name, is_repeated) in [("n".repeat(34), true), ("n".repeat(35), false)] {
        let call = format!(r#"{{"type":"function_call","call_id":"c1","name":"{name}","arguments":"{{}}"}}"#);
        let result = r#"{"type":"function_call_output","call_id":"c1","output":"x"}"#;
        let body = format!(r#"{{"model":"m","input":[{call},{result}]}}"#);
        let sent =
            parse(Surface::Responses, body).ok().unwrap().upstream_body(ProviderKind::Ollama, &target()).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["messages"][1].get("tool_name").is_some(), is_repeated, "{sent}");
    }
}

#[test]
fn an_upstreams_refusal_names_the_clients_field() {
    let open = r#"{"type":"object","additionalProperties":true}"#;
    for (surface, body, field) in [
        (Surface::Responses, r#"{"model":"m","input":[{"role":"system","content":"x"}]}"#.to_owned(), "input"),
        (
            Surface::Responses,
            format!(
                r#"{{"model":"m","input":"x","text":{{"format":{{"type":"json_schema","name":"n","schema":{open}}}}}}}"#
            ),
            "text.format",
        ),
        (Surface::Completions, r#"{"model":"m","prompt":""}"#.to_owned(), "prompt"),
    ] {
        let refusal = parse(surface, body).ok().unwrap().upstream_body(ProviderKind::Anthropic, &target()).unwrap_err();
        let named = refusal.details["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field) && refusal.message.starts_with(field), "{}", refusal.message);
    }
}

/// Holds: inf.anthropic-passed-on
#[test]
fn thoughts_that_anthropic_did_not_sign_are_not_passed_on_to_it() {
    let sent = |signature: &str| {
        let thought = format!(r#"{{"type":"thinking","thinking":"hm","signature":"{signature}"}}"#);
        let said = format!(r#"{{"role":"assistant","content":[{thought},{{"type":"text","text":"so"}}]}}"#);
        let ask = r#"{"role":"user","content":"x"}"#;
        let body = format!(r#"{{"model":"m","max_tokens":5,"messages":[{ask},{said},{ask}]}}"#);
        let request = parse(Surface::Anthropic, body).expect("a request");
        let sent = request.upstream_body(ProviderKind::Anthropic, &target()).expect("a body");
        String::from_utf8(sent.to_vec()).expect("text")
    };
    assert!(sent("c2ln").contains(r#""thinking":"hm","signature":"c2ln""#));
    for foreign in ["", "gemini:c2ln"] {
        let sent = sent(foreign);
        assert!(!sent.contains("hm") && sent.contains("so"), "{sent}");
    }
}

#[test]
fn a_cap_or_a_count_by_another_dialects_name_is_refused_on_messages() {
    for more in [
        r#","n":128"#,
        r#","max_completion_tokens":100000"#,
        r#","context_management":{"edits":[{"type":"clear_tool_uses_20250919","type":"compact_20260112"}]}"#,
        r#","context_management":{"edits":[{"type":"clear_tool_uses_20250919","Type":"compact_20260112"}]}"#,
    ] {
        let passed = anthropic(more)
            .ok()
            .filter(|request| request.unpriced(ProviderKind::Anthropic, &BTreeSet::new()).is_none())
            .map(|request| request.upstream_body(ProviderKind::Anthropic, &target()));
        assert!(passed.is_none(), "{more}: {passed:?}");
    }
}

#[test]
fn a_count_is_refused_what_a_message_is_refused() {
    let refused = |more: &str| {
        let body = format!(r#"{{{ASK}{more}}}"#);
        TokenCountRequest::parse(Surface::Anthropic, body.into())
            .ok()
            .is_none_or(|request| request.unpriced(&RequestHeaders::default(), &BTreeSet::new()).is_some())
    };
    assert!(!refused(""));
    for more in [
        r#","thread":{"id":"t"}"#,
        r#","mcp_servers":[{"type":"url","url":"https://internal"}]"#,
        r#","container":"c_of_another""#,
        r#","tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
    ] {
        assert!(refused(more), "{more}");
    }
}

#[test]
fn what_a_server_may_put_before_each_input_counts_for_each() {
    let inputs = vec![r#""x""#; 2_000].join(",");
    let body = format!(r#"{{"model":"m","input":[{inputs}],"instruct":"{}"}}"#, "y".repeat(10_000));
    let request = parse(Surface::OpenAiEmbeddings, body).ok().unwrap();
    assert!(request.input_tokens_bound() >= 2_000 * 10_000, "{}", request.input_tokens_bound());
}

/// What a client got of an Anthropic stream that broke off.
fn broken_off(events: &[&str]) -> Metered {
    let request = crate::golden::minimal_request(Surface::Anthropic, false);
    let mut relay = crate::Relay::new(ProviderKind::Anthropic, &request, "req_1", "m", 0);
    for event in events {
        relay.feed(format!("data: {event}\n\n").as_bytes(), &mut bytes::BytesMut::new()).expect(event);
    }
    relay.metered()
}

#[test]
fn thoughts_that_are_not_shown_are_not_free_if_a_stream_breaks_off() {
    let hidden = "E".repeat(120_000);
    let signature = format!(r#"{{"type":"signature_delta","signature":"{hidden}"}}"#);
    let redacted = format!(r#"{{"type":"redacted_thinking","data":"{hidden}"}}"#);
    let metered = broken_off(&[
        r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":25,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        &format!(r#"{{"type":"content_block_delta","index":0,"delta":{signature}}}"#),
        r#"{"type":"content_block_stop","index":0}"#,
        &format!(r#"{{"type":"content_block_start","index":1,"content_block":{redacted}}}"#),
        r#"{"type":"content_block_stop","index":1}"#,
    ])
    .for_interrupted();
    assert_eq!(metered.reasoning_bytes, 2 * 90_000);
}

#[test]
fn a_block_may_end_while_a_later_one_is_open() {
    let metered = broken_off(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    ]);
    assert!(metered.text_bytes >= 4, "{metered:?}");
}

#[test]
fn a_call_has_one_result_and_a_name_of_a_bounded_length() {
    let call = |name: &str| format!(r#"{{"type":"function_call","call_id":"c1","name":"{name}","arguments":"{{}}"}}"#);
    let result = r#"{"type":"function_call_output","call_id":"c1","output":"x"}"#;
    for (items, is_good) in [
        (format!("{},{result}", call(&"n".repeat(128))), true),
        (format!("{},{result}", call(&"n".repeat(129))), false),
        (format!("{},{result},{result}", call("n")), false),
        (format!("{0},{0},{result},{result}", call("n")), true),
    ] {
        let request = parse(Surface::Responses, format!(r#"{{"model":"m","input":[{items}]}}"#)).ok().unwrap();
        let sent = request.upstream_body(ProviderKind::Ollama, &target());
        assert_eq!(sent.is_ok(), is_good, "{items:.100}: {sent:?}");
    }
}

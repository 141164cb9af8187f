mod anthropic;
mod bounds;
mod calls;
mod caps;
mod claude_code;
mod documents;
mod fitted;
mod ignored;
mod lost;
mod needs;
mod prices;
mod refused;
mod servers;
mod thinking;

use events::event::admin::OutputCapField;
use events::refusal::ErrorCode;
use events::refused_parameters::RefusedParameters;
use intermediate::{RequestedCap, json};
use provider_dialects::{CallIdRule, NO_FIELDS, Server, UpstreamCap};

use super::*;

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
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
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
    assert_eq!(request.facts.directives.metadata["a"], "b");
    let anthropic = anthropic(r#","stream":true,"thinking":{"type":"enabled","budget_tokens":4}"#).ok().unwrap();
    assert_eq!((&*anthropic.facts.model, anthropic.facts.streamed, anthropic.facts.choices), ("m", true, 1));
    assert_eq!((cap(&anthropic).field, cap(&anthropic).tokens), ("max_tokens", Some(5)));
    assert_eq!((anthropic.facts.reserved_output.needed(), anthropic.facts.has_tools), (4, false));
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

#[test]
fn what_an_upstream_cannot_express_is_refused_by_the_clients_own_name_for_it() {
    let open = r#"{"type":"object","additionalProperties":true}"#;
    let format = format!(r#""json_schema":{{"name":"s","schema":{open}}}"#);
    for (request, upstream, model, field) in [
        (
            parse(
                Surface::Anthropic,
                format!(r#"{{{ASK},"max_tokens":2048,"thinking":{{"type":"enabled","budget_tokens":1024}}}}"#),
            ),
            ProviderKind::Bedrock,
            "amazon.nova-lite-v1:0",
            "thinking.budget_tokens",
        ),
        (openai(r#","thinking":{"type":"enabled","budget_tokens":1024}"#), ProviderKind::Anthropic, "b", "thinking"),
        (
            anthropic(&format!(r#","output_config":{{"format":{{"type":"json_schema","schema":{open}}}}}"#)),
            ProviderKind::Bedrock,
            "amazon.nova-lite-v1:0",
            "output_config.format",
        ),
        (openai(r#","reasoning":{"max_tokens":1024}"#), ProviderKind::Anthropic, "b", "reasoning"),
        (openai(r#","reasoning":{"max_tokens":1024}"#), ProviderKind::Ollama, "b", "reasoning"),
        (openai(r#","thinking":{"budget_tokens":1024}"#), ProviderKind::Ollama, "b", "thinking"),
        (
            anthropic(&format!(r#","output_format":{{"type":"json_schema","schema":{open}}}"#)),
            ProviderKind::Bedrock,
            "amazon.nova-lite-v1:0",
            "output_format",
        ),
        (
            openai(&format!(r#","response_format":{{"type":"json_schema",{format}}}"#)),
            ProviderKind::Anthropic,
            "b",
            "response_format",
        ),
        (
            parse(Surface::Native, format!(r#"{{{ASK},"reasoning":{{"budget_tokens":1024}}}}"#)),
            ProviderKind::Anthropic,
            "b",
            "reasoning.budget_tokens",
        ),
    ] {
        let target = OutboundTarget { model, ..target() };
        let refusal = request.expect("a request").upstream_body(upstream, &target).expect_err("it is refused");
        assert_eq!(refusal.details["field"], field, "{refusal:?}");
        assert!(refusal.message.starts_with(field), "{refusal:?}");
    }
}

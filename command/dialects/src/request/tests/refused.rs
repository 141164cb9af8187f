//! Parameters that the target's model refuses.

use events::refused_parameters::RefusedParameter;
use serde_json::{Value, json};

use super::*;

/// The body for a target, and the header for the client.
struct Sent {
    body: Value,
    ignored: Option<String>,
    asks_for_no_thoughts: bool,
}

fn sent(surface: Surface, body: &str, kind: ProviderKind, refused: &[RefusedParameter]) -> Sent {
    let request = parse(surface, body.to_owned()).unwrap_or_else(|refusal| panic!("{body}: {}", refusal.message));
    let refused = refused.iter().copied().collect();
    let target = OutboundTarget { refused, system_prefix: Some("p"), ..target() };
    let written =
        request.upstream_bodies().body(kind, &target).unwrap_or_else(|refusal| panic!("{body}: {}", refusal.message));
    let ignored = written.ignored.in_words_of(surface);
    let asks_for_no_thoughts = written.asks_for_no_thoughts;
    Sent { body: serde_json::from_slice(&written.bytes).expect("JSON"), ignored, asks_for_no_thoughts }
}

/// The body for a server of OpenAI's dialect, of an OpenAI client's request with these members.
fn sent_to(server: Option<Server>, refused: &[RefusedParameter], more: &str) -> Sent {
    let request = parse(Surface::OpenAi, format!("{{{ASK},{more}}}")).expect("a request");
    let target = OutboundTarget { server, refused: refused.iter().copied().collect(), ..target() };
    let written = request.upstream_bodies().body(ProviderKind::Openai, &target).expect("a body");
    let ignored = written.ignored.in_words_of(Surface::OpenAi);
    Sent {
        body: serde_json::from_slice(&written.bytes).expect("JSON"),
        ignored,
        asks_for_no_thoughts: written.asks_for_no_thoughts,
    }
}

const TOOL: &str = r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
const SAMPLING: &str = r#""temperature":0.5,"top_p":0.9"#;

#[test]
fn refused_parameters_are_left_out_and_named_wherever_they_stand() {
    let refused = [RefusedParameter::Temperature, RefusedParameter::TopP];
    let chat = |more: &str| {
        format!(r#"{{{SAMPLING},"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}]{more}}}"#)
    };
    let last = |cap: &str, input: &str| format!(r#"{{"model":"m","{cap}":5,{input},{SAMPLING}}}"#);
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for (surface, body) in [
        (Surface::OpenAi, chat("")),
        (Surface::OpenAi, last("max_completion_tokens", messages)),
        (Surface::Anthropic, chat("")),
        (Surface::Anthropic, last("max_tokens", messages)),
        (Surface::Native, last("max_output_tokens", messages)),
        (Surface::Responses, last("max_output_tokens", r#""input":"x""#)),
        (Surface::Completions, last("max_tokens", r#""prompt":"x""#)),
    ] {
        for kind in [ProviderKind::Openai, ProviderKind::Anthropic, ProviderKind::Gemini, ProviderKind::Cohere] {
            let Sent { body: written, ignored, .. } = sent(surface, &body, kind, &refused);
            let text = written.to_string();
            assert!(!["0.5", "0.9"].iter().any(|value| text.contains(value)), "{surface:?} {kind:?}: {text}");
            assert_eq!(ignored.as_deref(), Some("temperature, top_p"), "{surface:?} {kind:?}");
            let all = sent(surface, &body, kind, &[]);
            assert!(all.body.to_string().contains("0.5") && all.ignored.is_none(), "{surface:?} {kind:?}");
            let mut without = all.body;
            without
                .as_object_mut()
                .expect("an object")
                .retain(|name, _| !["temperature", "top_p"].contains(&name.as_str()));
            if [ProviderKind::Openai, ProviderKind::Anthropic].contains(&kind) {
                assert_eq!(written, without, "nothing else changes");
            }
        }
    }
}

#[test]
fn what_a_request_does_not_have_is_not_named() {
    let refused = [RefusedParameter::Temperature, RefusedParameter::TopK, RefusedParameter::MaxTokens];
    for body in [format!("{{{ASK}}}"), format!(r#"{{{ASK},"temperature":null}}"#)] {
        let Sent { body, ignored, .. } = sent(Surface::OpenAi, &body, ProviderKind::Openai, &refused);
        assert_eq!((body.get("temperature"), ignored), (None, None));
    }
}

/// A model that reasons takes some parameters only while it does not, and an effort only without tools.
#[test]
fn conditions_of_refused_parameters_follow_from_the_request() {
    let refused = [RefusedParameter::SamplingWithReasoning, RefusedParameter::EffortWithTools];
    let openai =
        |more: &str| sent(Surface::OpenAi, &format!("{{{ASK},{SAMPLING}{more}}}"), ProviderKind::Openai, &refused);
    for more in ["", r#","reasoning_effort":"none""#] {
        let Sent { body, ignored, .. } = openai(more);
        assert_eq!((&body["temperature"], ignored), (&json!(0.5), None), "{more}");
    }
    let Sent { body, ignored, .. } = openai(r#","reasoning_effort":"high""#);
    assert_eq!((&body["reasoning_effort"], body.get("top_p")), (&json!("high"), None));
    assert_eq!(ignored.as_deref(), Some("temperature, top_p"));
    for (effort, named) in [
        (r#""reasoning_effort":"high","#, Some("reasoning_effort")),
        (r#""reasoning_effort":"none","#, None),
        // The model would think by itself.
        ("", Some("reasoning_effort")),
    ] {
        let Sent { body, ignored, .. } = openai(&format!(",{effort}{TOOL}"));
        assert_eq!((&body["reasoning_effort"], &body["temperature"]), (&json!("none"), &json!(0.5)), "{effort}");
        assert_eq!(ignored.as_deref(), named, "{effort}");
    }
    let tool = r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#;
    let Sent { body, ignored, .. } =
        sent(Surface::Anthropic, &format!("{{{ASK},\"max_tokens\":5,{tool}}}"), ProviderKind::Openai, &refused);
    assert_eq!((&body["reasoning_effort"], ignored.as_deref()), (&json!("none"), Some("output_config.effort")));
    // What refuses any effort is sent none.
    let Sent { body, ignored, .. } = sent(
        Surface::OpenAi,
        &format!(r#"{{{ASK},"reasoning_effort":"low"}}"#),
        ProviderKind::Openai,
        &[RefusedParameter::ReasoningEffort],
    );
    assert_eq!((body.get("reasoning_effort"), ignored.as_deref()), (None, Some("reasoning_effort")));
}

/// Whatever a client calls them.
#[test]
fn other_wishes_to_think_are_refused_with_the_effort() {
    let effort = [RefusedParameter::ReasoningEffort];
    for (name, wish) in [
        ("reasoning_effort", r#""low""#),
        ("reasoning", r#"{"effort":"low"}"#),
        ("thinking", r#"{"type":"enabled","budget_tokens":2}"#),
        ("thinking_budget", "7"),
        ("max_thinking_tokens", "7"),
    ] {
        let Sent { body, ignored, .. } =
            sent(Surface::OpenAi, &format!(r#"{{{ASK},"{name}":{wish}}}"#), ProviderKind::Openai, &effort);
        assert_eq!((body.get(name), ignored.as_deref()), (None, Some(name)), "{name}");
        let with_tools = format!(r#"{{{ASK},"{name}":{wish},{TOOL}}}"#);
        let Sent { body, ignored, .. } =
            sent(Surface::OpenAi, &with_tools, ProviderKind::Openai, &[RefusedParameter::EffortWithTools]);
        assert_eq!((&body["reasoning_effort"], ignored.as_deref()), (&json!("none"), Some(name)), "{name}");
        assert!(name == "reasoning_effort" || body.get(name).is_none(), "{name}: {body}");
    }
    let format = r#""format":{"type":"json_schema","schema":{"type":"object"}}"#;
    let both = "output_config.effort, thinking";
    for (more, left, named) in [
        (r#""thinking":{"type":"adaptive"}"#.to_owned(), None, "thinking"),
        (r#""output_config":{"effort":"low"},"thinking":{"type":"adaptive"}"#.to_owned(), None, both),
        (format!(r#""output_config":{{"effort":"low",{format}}}"#), Some(1), "output_config.effort"),
        (format!(r#""output_config":{{{format},"effort":"low"}}"#), Some(1), "output_config.effort"),
    ] {
        let asked = format!("{{{ASK},\"max_tokens\":5,{more}}}");
        let Sent { body, ignored, .. } = sent(Surface::Anthropic, &asked, ProviderKind::Anthropic, &effort);
        assert!(body.get("thinking").is_none() && !body.to_string().contains("effort"), "{body}");
        assert_eq!(body["output_config"].as_object().map(serde_json::Map::len), left, "{body}");
        assert_eq!(ignored.as_deref(), Some(named), "{more}");
    }
    // Translated, the client's own names.
    let budget = format!(r#"{{{ASK},"max_tokens":5000,"thinking":{{"type":"enabled","budget_tokens":2000}}}}"#);
    assert_eq!(
        sent(Surface::Anthropic, &budget, ProviderKind::Openai, &effort).ignored.as_deref(),
        Some("thinking.budget_tokens")
    );
}

/// A model that thinks by itself would think without them.
#[test]
fn what_switches_thoughts_off_is_sent_and_not_named() {
    let body_of = |surface, kind, refused, more: &str| {
        let asked = format!(r#"{{{ASK},"max_tokens":5,{more}}}"#);
        let Sent { body, ignored, .. } = sent(surface, &asked, kind, &[refused]);
        assert_eq!(ignored, None, "{more}");
        body
    };
    for (name, off) in [
        ("enable_thinking", "false"),
        ("thinking", r#"{"type":"disabled"}"#),
        ("thinking_budget", "0"),
        ("reasoning", r#"{"enabled":false}"#),
    ] {
        let more = format!("\"{name}\":{off}");
        let body = body_of(Surface::OpenAi, ProviderKind::Openai, RefusedParameter::ReasoningEffort, &more);
        assert_eq!(body[name].to_string(), off);
    }
    // A server that refuses what it does not know is sent nothing of it, and beside tools the effort `none` says it.
    let strict =
        sent_to(Some(Server::Openai), &[RefusedParameter::ReasoningEffort], r#""thinking":{"type":"disabled"}"#);
    assert_eq!((strict.body.get("thinking"), strict.ignored), (None, None));
    let off_beside_tools = format!(r#""enable_thinking":false,{TOOL}"#);
    let beside_tools = sent_to(None, &[RefusedParameter::EffortWithTools], &off_beside_tools);
    assert_eq!((beside_tools.body.get("enable_thinking"), beside_tools.ignored), (None, None));
    assert_eq!(beside_tools.body["reasoning_effort"], "none");
    let tool = r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"thinking":{"type":"disabled"}"#;
    for refused in [RefusedParameter::ReasoningEffort, RefusedParameter::EffortWithTools] {
        let body = body_of(Surface::Anthropic, ProviderKind::Anthropic, refused, tool);
        assert_eq!(body["thinking"], json!({ "type": "disabled" }));
    }
    let nothing = r#""output_config":{"effort":null},"thinking":null"#;
    let body = body_of(Surface::Anthropic, ProviderKind::Anthropic, RefusedParameter::ReasoningEffort, nothing);
    assert_eq!((body.get("output_config"), body.get("thinking")), (None, None));
}

/// On Anthropic's API as well, whose clients name no effort `none`.
#[test]
fn thoughts_beside_tools_are_switched_off_where_claude_refuses_them() {
    let tool = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
    for (more, named) in [
        ("", "thinking"),
        (r#","thinking":null"#, "thinking"),
        (r#","thinking":{"type":"adaptive"}"#, "thinking"),
        (r#","thinking":{"display":"omitted"}"#, "thinking"),
        (r#","output_config":{"effort":"high"}"#, "output_config.effort"),
    ] {
        let asked = format!(r#"{{{ASK},"max_tokens":5,{tool}{more}}}"#);
        let Sent { body, ignored, .. } =
            sent(Surface::Anthropic, &asked, ProviderKind::Anthropic, &[RefusedParameter::EffortWithTools]);
        assert_eq!((&body["thinking"], body.get("output_config")), (&json!({ "type": "disabled" }), None), "{more}");
        assert_eq!(ignored.as_deref(), Some(named), "{more}");
    }
}

/// A stream that breaks off is charged by it.
#[test]
fn a_body_asks_for_no_thoughts_if_nothing_is_left_of_its_wishes() {
    let asks_for_none = |surface, kind, more: &str| {
        let asked = format!(r#"{{{ASK},"max_tokens":5000,{more}}}"#);
        sent(surface, &asked, kind, &[RefusedParameter::ReasoningEffort]).asks_for_no_thoughts
    };
    let (openai, anthropic) = (ProviderKind::Openai, ProviderKind::Anthropic);
    let on = r#""thinking":{"type":"enabled","budget_tokens":2000}"#;
    for (surface, kind, more, is_none) in [
        (Surface::OpenAi, openai, r#""reasoning_effort":"high""#, true),
        (Surface::OpenAi, openai, r#""reasoning_effort":"high","chat_template_kwargs":{}"#, true),
        (Surface::OpenAi, openai, r#""chat_template_kwargs":{"enable_thinking":true}"#, false),
        (Surface::OpenAi, openai, r#""output_config":{"effort":"high"}"#, false),
        (Surface::OpenAi, ProviderKind::Gemini, r#""reasoning_effort":"high""#, true),
        (Surface::Anthropic, anthropic, on, true),
        (Surface::Anthropic, anthropic, r#""output_config":{"effort":"high"}"#, true),
        (Surface::Anthropic, anthropic, r#""reasoning_effort":"high""#, false),
        (Surface::Anthropic, anthropic, r#""chat_template_kwargs":{"enable_thinking":true}"#, false),
        (Surface::Anthropic, openai, on, true),
    ] {
        assert_eq!(asks_for_none(surface, kind, more), is_none, "{surface:?} {kind:?} {more}");
    }
    let taken = format!(r#"{{{ASK},"reasoning_effort":"high"}}"#);
    assert!(!sent(Surface::OpenAi, &taken, openai, &[]).asks_for_no_thoughts);
}

#[test]
fn a_seed_has_the_name_that_its_client_gives_it() {
    let asked = format!(r#"{{{ASK},"random_seed":7,"temperature":1,"seed":7}}"#);
    let refused = [RefusedParameter::Seed, RefusedParameter::Temperature];
    let ignored = sent(Surface::OpenAi, &asked, ProviderKind::Openai, &refused).ignored;
    assert_eq!(ignored.as_deref(), Some("random_seed, temperature, seed"));
}

#[test]
fn values_that_ask_for_nothing_are_left_out_without_a_word() {
    let refused = [RefusedParameter::FrequencyPenalty, RefusedParameter::PresencePenalty, RefusedParameter::LogitBias];
    let nothing = r#""frequency_penalty":0,"presence_penalty":0.0,"logit_bias":{}"#;
    for kind in [ProviderKind::Openai, ProviderKind::Gemini] {
        let Sent { body, ignored, .. } = sent(Surface::OpenAi, &format!("{{{ASK},{nothing}}}"), kind, &refused);
        assert_eq!((body.get("logit_bias"), body.get("frequency_penalty"), ignored), (None, None, None));
    }
}

/// A server that ignores a name of the cap does so whatever its models refuse: without a cap, a request would cost more than its hold.
#[test]
fn the_cap_has_the_name_of_the_server_whatever_the_model_refuses() {
    let request = openai("").expect("a request");
    let name = |server, refused: &[RefusedParameter]| {
        let target = OutboundTarget { server, refused: refused.iter().copied().collect(), ..target() };
        let body = request.upstream_body(ProviderKind::Openai, &target).expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        ["max_tokens", "max_completion_tokens"].map(|name| body.get(name).and_then(Value::as_u64))
    };
    let refused = [RefusedParameter::MaxTokens];
    assert_eq!(name(None, &refused), [None, Some(9)]);
    assert_eq!(name(None, &[RefusedParameter::MaxCompletionTokens]), [Some(9), None]);
    for server in [Server::Mistral, Server::Deepseek, Server::LlamaCpp] {
        assert_eq!(name(Some(server), &refused), [Some(9), None], "{server:?}");
    }
}

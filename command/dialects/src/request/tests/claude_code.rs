//! Parts of Claude Code's requests: references to tools, tools that come later, and a line for Anthropic's billing.

use provider_dialects::CountTarget;
use serde_json::{Value, json};

use super::*;

fn asked(body: &Value) -> ClientRequest {
    parse(Surface::Anthropic, body.to_string()).unwrap_or_else(|refusal| panic!("{body}: {}", refusal.message))
}

fn sent(request: &ClientRequest, kind: ProviderKind, target: &OutboundTarget<'_>) -> Value {
    let body = request.upstream_body(kind, target).unwrap_or_else(|refusal| panic!("{kind:?}: {}", refusal.message));
    serde_json::from_slice(&body).expect("JSON")
}

/// Kinds of another dialect.
const OTHERS: [ProviderKind; 7] = [
    ProviderKind::Openai,
    ProviderKind::AzureOpenai,
    ProviderKind::Ollama,
    ProviderKind::Cohere,
    ProviderKind::Gemini,
    ProviderKind::Bedrock,
    ProviderKind::Vertex,
];

fn tool(name: &str, more: Value) -> Value {
    let mut tool = json!({"name": name, "description": "d", "input_schema": {"type": "object"}});
    tool.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    tool
}

/// A conversation in which the client has searched among its tools.
fn searched(references: &[&str]) -> Value {
    let references: Vec<_> =
        references.iter().map(|name| json!({"type": "tool_reference", "tool_name": name})).collect();
    json!({
        "model": "m",
        "max_tokens": 5,
        "tools": [tool("ToolSearch", json!({})), tool("ExitPlan", json!({"defer_loading": true}))],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "tu_1", "name": "ToolSearch", "input": {"query": "plan"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "tu_1", "content": references}]},
        ],
    })
}

/// Holds: inf.anthropic-passed-on
#[test]
fn a_reference_to_a_tool_is_passed_on_and_is_text_elsewhere() {
    let body = searched(&["ExitPlan"]);
    let request = asked(&body);
    let passed_on = sent(&request, ProviderKind::Anthropic, &target());
    assert_eq!((&passed_on["messages"], &passed_on["tools"]), (&body["messages"], &body["tools"]));
    for kind in OTHERS {
        let written = sent(&request, kind, &OutboundTarget { model: "claude-m", ..target() }).to_string();
        assert!(written.contains("Tool available: ExitPlan"), "{kind:?}: {written}");
        assert!(written.contains("ToolSearch") && !written.contains("defer_loading"), "{kind:?}: {written}");
        assert!(!written.contains("tool_reference"), "{kind:?}: {written}");
    }
    for bad in [json!({"type": "tool_reference"}), json!({"type": "tool_reference", "toolName": "ExitPlan"})] {
        let mut body = body.clone();
        body["messages"][2]["content"][0]["content"] = json!([bad]);
        let refusal = parse(Surface::Anthropic, body.to_string()).err().expect("it has no name");
        assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{}", refusal.message);
    }
}

/// The provider puts the definition in the place of each reference, so that a short body may have a long prompt.
///
/// Holds: inf.anthropic-bound
#[test]
fn references_to_a_tool_are_held_for_as_its_definition() {
    let definition = tool("ExitPlan", json!({"defer_loading": true})).to_string().len() as u64;
    let added = |names: &[&str]| asked(&searched(names)).facts.added_tokens;
    // A tool that comes later is in the prompt where it is referred to alone.
    assert_eq!(added(&[]), 0);
    assert_eq!(added(&["ExitPlan"]), 0);
    assert_eq!(added(&["ExitPlan"; 3]), 2 * definition);
    assert_eq!(added(&["ToolSearch"]), tool("ToolSearch", json!({})).to_string().len() as u64);
    assert_eq!(added(&["Nobody"; 3]), 0);
    let mut long = searched(&["ExitPlan"; 1_000]);
    long["tools"][1]["description"] = json!("d".repeat(10_000));
    assert!(asked(&long).input_tokens_bound() > 10_000_000);
}

#[test]
fn a_search_among_tools_is_left_out_where_all_tools_are_there_at_once() {
    for kind in ["tool_search_tool_regex_20251119", "tool_search_tool_bm25_20251119"] {
        let mut body = searched(&[]);
        body["tools"][0] = json!({"type": kind, "name": "search"});
        body["messages"] = json!([{"role": "user", "content": "x"}]);
        let request = asked(&body);
        // It reads the prompt once more for each search.
        assert!(request.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_some());
        let allowed = BTreeSet::from(["tools".to_owned()]);
        let passed_on =
            sent(&request, ProviderKind::Anthropic, &OutboundTarget { allowed_fields: &allowed, ..target() });
        assert_eq!(passed_on["tools"], body["tools"]);
        let written = sent(&request, ProviderKind::Openai, &target());
        assert_eq!(written["tools"].as_array().map(Vec::len), Some(1), "{written}");
        assert_eq!(written["tools"][0]["function"]["name"], "ExitPlan");
        let ignored = request.upstream_bodies().body(ProviderKind::Openai, &target()).expect("a body").ignored;
        assert_eq!(ignored.in_words_of(Surface::Anthropic).as_deref(), Some("tools[]"));
        for other in [json!({"type": "web_search_20250305", "name": "web_search"}), json!({"name": "$web_search"})] {
            for at in [0, 3] {
                let mut body = body.clone();
                body["tools"].as_array_mut().expect("tools").insert(at.min(2), other.clone());
                let request = asked(&body);
                assert!(request.unpriced(ProviderKind::Openai, &NO_FIELDS).is_some(), "{other}");
                assert!(request.upstream_body(ProviderKind::Openai, &target()).is_err(), "{other}");
            }
        }
    }
}

/// Holds: inf.anthropic-passed-on
#[test]
fn a_tool_that_is_offered_or_withdrawn_in_a_conversation_is_judged_where_it_is_defined() {
    let with = |blocks: Value| {
        let mut body = searched(&[]);
        let system = json!({"role": "system", "content": blocks});
        body["messages"].as_array_mut().expect("messages").push(system);
        body
    };
    let reference = |kind: &str| json!({"type": kind, "tool": {"type": "tool_reference", "name": "ExitPlan"}});
    let body = with(json!([reference("tool_addition"), reference("tool_removal"), {"type": "text", "text": "so"}]));
    let request = asked(&body);
    assert!(request.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_none() && request.facts.added_tokens == 0);
    assert_eq!(sent(&request, ProviderKind::Anthropic, &target())["messages"], body["messages"]);
    for kind in OTHERS {
        let written = sent(&request, kind, &OutboundTarget { model: "claude-m", ..target() }).to_string();
        for text in ["Tool available: ExitPlan", "Tool withdrawn: ExitPlan"] {
            assert!(written.contains(text), "{kind:?}: {written}");
        }
    }
    let inline = |definition: Value| {
        with(json!([{"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}]))
    };
    let own = asked(&inline(tool("f", json!({}))));
    assert!(own.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_none() && own.facts.added_tokens == 0);
    let written = sent(&own, ProviderKind::Openai, &target());
    let names = |written: &Value| -> Vec<String> {
        let tools = written["tools"].as_array().expect("tools").iter();
        tools.map(|tool| tool["function"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&written), ["ToolSearch", "ExitPlan", "f"]);
    assert_eq!(written["messages"][3], json!({"role": "system", "content": "Tool available"}));
    let first = json!({"model": "m", "max_tokens": 5, "messages": [
        {"role": "system", "content": [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("f", json!({}))}},
        ]},
        {"role": "user", "content": "x"},
    ]});
    assert_eq!(names(&sent(&asked(&first), ProviderKind::Openai, &target())), ["f"]);
    // A newer definition takes the place of an older one, which a provider would refuse beside it.
    let newer =
        sent(&asked(&inline(tool("ToolSearch", json!({"description": "newer"})))), ProviderKind::Openai, &target());
    assert_eq!(names(&newer), ["ExitPlan", "ToolSearch"]);
    assert_eq!(newer["tools"][1]["function"]["description"], "newer");
    let twice = with(json!([
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("f", json!({}))}},
        {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}},
    ]));
    assert_eq!(asked(&twice).facts.added_tokens, tool("f", json!({})).to_string().len() as u64);
    let bash = asked(&inline(json!({"type": "bash_20250124", "name": "bash"})));
    assert!(bash.facts.added_tokens >= 2_048);
    let search = asked(&inline(json!({"type": "web_search_20250305", "name": "web_search"})));
    assert!(search.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_some());
    let unknown = asked(&with(json!([{"type": "tool_addition", "tool": {"type": "of_tomorrow"}}])));
    assert!(unknown.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_some());
    for bad in [json!({}), json!({"type": "tool_reference"}), json!({"type": "tool_definition"}), json!(7)] {
        let body = with(json!([{"type": "tool_addition", "tool": bad}]));
        assert!(parse(Surface::Anthropic, body.to_string()).is_err(), "{bad}");
    }
}

const YOU_ARE: &str = r#"{"type":"text","text":"You are …","cache_control":{"type":"ephemeral"}}"#;

fn line(checksum: &str) -> String {
    let line = format!("x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch={checksum};");
    format!(r#"{{"type":"text","text":"{line}"}}"#)
}

fn with_system(blocks: &str) -> String {
    format!(r#"{{"model":"m","system":[{blocks}],"max_tokens":5,"messages":[{{"role":"user","content":"x"}}]}}"#)
}

fn turn(blocks: &str) -> ClientRequest {
    parse(Surface::Anthropic, with_system(blocks)).expect("a request")
}

/// Holds: inf.anthropic-passed-on
#[test]
fn two_turns_of_claude_code_begin_alike_everywhere_but_at_anthropic() {
    let [first, second] = ["36ee5", "0aaa9"].map(|checksum| turn(&format!("{}, {YOU_ARE}", line(checksum))));
    let target = OutboundTarget { model: "claude-m", ..target() };
    for kind in OTHERS.into_iter().chain([ProviderKind::Anthropic]) {
        let [first, second] = [&first, &second].map(|turn| turn.upstream_body(kind, &target).expect("a body"));
        assert_eq!(first, second, "{kind:?}");
        let text = String::from_utf8_lossy(&first);
        assert!(text.contains("You are …") && !text.contains("x-anthropic-billing-header"), "{text}");
    }
    let own = OutboundTarget { takes_signed_thoughts_alone: true, ..target };
    let sent = first.upstream_body(ProviderKind::Anthropic, &own).expect("a body");
    assert!(String::from_utf8_lossy(&sent).contains(&line("36ee5")));
}

#[test]
fn a_system_prompt_without_the_line_is_still_one() {
    let line = line("36ee5");
    let text = r#"{"type":"text","text":"so"}"#;
    let prefix = r#"{"type":"text","text":"p"}"#;
    let more = line.replace(";\"}", ";\\nYou are …\"}");
    for (blocks, plain, prefixed) in [
        (format!("{line},{text}"), text.to_owned(), format!("{prefix},{text}")),
        (format!(" {line} , {text}"), format!(" {text}"), format!("{prefix}, {text}")),
        (format!("{text},{line}"), text.to_owned(), format!("{prefix},{text}")),
        (format!("{text},{line},{text}"), format!("{text},{text}"), format!("{prefix},{text},{text}")),
        (line.clone(), String::new(), prefix.to_owned()),
        (format!("{line},{line}"), String::new(), prefix.to_owned()),
        // The rest of such a block is for the model.
        (more.clone(), more.clone(), format!("{prefix},{more}")),
    ] {
        for (system_prefix, wanted) in [(None, plain), (Some("p"), prefixed)] {
            let sent =
                turn(&blocks).upstream_body(ProviderKind::Anthropic, &OutboundTarget { system_prefix, ..target() });
            let sent: Value = serde_json::from_slice(&sent.expect("a body")).expect("JSON");
            let wanted: Value = serde_json::from_str(&format!("[{wanted}]")).expect("blocks");
            assert_eq!(sent["system"], wanted, "{blocks}");
            let body = with_system(&blocks).replace(r#""max_tokens":5,"#, "");
            let count = TokenCountRequest::parse(Surface::Anthropic, body.into()).expect("a count");
            let target = CountTarget { model: "b", system_prefix, takes_signed_thoughts_alone: false };
            let (_, counted) =
                count.for_upstream(ProviderKind::Anthropic, &target).expect("a body").expect("it counts");
            let counted: Value = serde_json::from_slice(&counted).expect("JSON");
            assert_eq!(counted["system"], wanted, "{blocks}");
        }
    }
}

/// A message of the role system may do nothing but change the effort.
#[test]
fn a_message_may_change_the_effort_alone() {
    let mut body = searched(&[]);
    let effort = json!({"role": "system", "content": [], "output_config": {"effort": "xhigh"}});
    body["messages"] = json!([{"role": "user", "content": "x"}, effort, {"role": "user", "content": "y"}]);
    let request = asked(&body);
    assert_eq!(sent(&request, ProviderKind::Anthropic, &target())["messages"], body["messages"]);
    for kind in OTHERS {
        let written = sent(&request, kind, &OutboundTarget { model: "claude-m", ..target() }).to_string();
        assert!(!written.contains("xhigh"), "{kind:?}: {written}");
    }
}

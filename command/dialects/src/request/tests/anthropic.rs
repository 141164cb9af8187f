//! Requests in Anthropic's dialect.

use provider_dialects::CountTarget;

use super::*;

const fn counting(takes_signed_thoughts_alone: bool) -> CountTarget<'static> {
    CountTarget { model: "b", system_prefix: None, takes_signed_thoughts_alone }
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
fn headers_go_on_to_the_same_dialect_alone_and_what_may_cost_only_where_it_is_allowed() {
    let mut headers = http::HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
    let betas = "effort-2025-11-24,context-1m-2025-08-07";
    headers.insert("anthropic-beta", HeaderValue::from_static(betas));
    let read = (Surface::Anthropic.spec().read_headers)(&headers).ok().unwrap();
    let mut request = anthropic("").ok().unwrap();
    request.set_headers(read);
    let allowed = BTreeSet::from(["anthropic_beta".to_owned()]);
    let beta = |allowed| {
        let sent = request.headers_for(ProviderKind::Anthropic, allowed);
        assert_eq!(
            sent.first().map(|(name, value)| (name.as_str(), value)),
            Some(("anthropic-version", &HeaderValue::from_static("2026-10-21")))
        );
        sent.get(1).and_then(|(_, value)| value.to_str().ok().map(str::to_owned))
    };
    assert_eq!(beta(&allowed).as_deref(), Some(betas));
    assert_eq!(beta(&NO_FIELDS).as_deref(), Some("effort-2025-11-24"));
    assert!(request.headers_for(ProviderKind::Openai, &allowed).is_empty());
    for kind in [ProviderKind::Anthropic, ProviderKind::Openai] {
        assert!(request.unpriced(kind, &NO_FIELDS).is_none());
    }
    // An idempotent request is the same one at every provider.
    assert_eq!(request.forwarded_headers().len(), 2);
    let others = (Surface::OpenAi.spec().read_headers)(&headers).ok().unwrap();
    let mut request = openai("").ok().unwrap();
    request.set_headers(others);
    assert!(request.forwarded_headers().is_empty());
}

/// Holds: inf.anthropic-passed-on
#[test]
fn thoughts_that_another_dialect_signed_are_cut_out_and_all_else_is_passed_on() {
    let thought = |signature: &str| format!(r#"{{"type":"thinking","thinking":"hm","signature":"{signature}"}}"#);
    let said = |blocks: &str| format!(r#"{{"role":"assistant", "content":[ {blocks} ]}}"#);
    let [own, bare, gemini, nobody] = ["c2ln", "", "gemini:c2ln", "ledgerway:"].map(thought);
    // Of a server that signs nothing.
    let unsigned = r#"{"type":"thinking","thinking":"hm"}"#;
    let (so, call) = (r#"{"type":"text","text":"so"}"#, r#"{"type":"tool_use","id":"t","name":"bash","input":{}}"#);
    let ask = r#"{"role":"user","content":"x"}"#;
    for (messages, wanted) in [
        (format!("{ask},{}", said(&[&own, so].join(" , "))), None),
        (format!("{ask},{}", said(&[&bare, so].join(" , "))), None),
        (format!("{ask},{}", said(&[unsigned, so].join(" , "))), None),
        (format!("{ask},{}", said(&[&gemini, so].join(" , "))), Some(format!("{ask},{}", said(so)))),
        (format!("{ask},{}", said(&[&nobody, so].join(" , "))), Some(format!("{ask},{}", said(so)))),
        (
            format!("{ask},{},{ask}", said(&[so, &bare, call, &gemini, &nobody, &own].join(","))),
            Some(format!("{ask},{},{ask}", said(&[so, &bare, call, &own].join(",")))),
        ),
        // A message of which nothing would be left goes with its thoughts.
        (format!("{},{ask} , {},{ask}", said(&gemini), said(&nobody)), Some(format!("{ask},{ask}"))),
    ] {
        let rest = r#""tools":[{"type":"bash_20250124","name":"bash"}],"thinking":{"type":"adaptive"},"min_p":0.1,
            "context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#;
        let body = |model: &str, cap: &str, messages: &str| {
            format!(r#"{{"model":"{model}",{cap}"messages":[{messages}],{rest}}}"#)
        };
        let request = parse(Surface::Anthropic, body("m", r#""max_tokens":5,"#, &messages)).expect("a request");
        let count = TokenCountRequest::parse(Surface::Anthropic, body("m", "", &messages).into()).expect("a count");
        let wanted = wanted.unwrap_or(messages);
        let sent = request.upstream_body(ProviderKind::Anthropic, &target()).expect("a body");
        let sent = String::from_utf8(sent.to_vec()).expect("text");
        assert_eq!(sent, body("b", r#""max_tokens":9,"#, &wanted));
        let (_, sent) =
            count.for_upstream(ProviderKind::Anthropic, &counting(false)).expect("a body").expect("it counts");
        assert_eq!(String::from_utf8(sent.to_vec()).expect("text"), body("b", "", &wanted));
    }
}

/// A conversation that moves here from a server that signs nothing would be refused for ever.
///
/// Holds: inf.anthropic-passed-on
#[test]
fn thoughts_without_a_signature_are_cut_out_where_signed_ones_alone_are_taken() {
    let own = r#"{"type":"thinking","thinking":"hm","signature":"c2ln"}"#;
    let so = r#"{"type":"text","text":"so"}"#;
    let said = |blocks: &[&str]| format!(r#"{{"role":"assistant","content":[{}]}}"#, blocks.join(","));
    let ask = r#"{"role":"user","content":"x"}"#;
    let target = OutboundTarget { takes_signed_thoughts_alone: true, ..target() };
    for unsigned in [
        r#"{"type":"thinking","thinking":"hm"}"#,
        r#"{"type":"thinking","thinking":"hm","signature":""}"#,
        r#"{"type":"thinking","thinking":"hm","signature":null}"#,
        r#"{"type":"thinking","thinking":"hm","signature":"ledgerway:"}"#,
    ] {
        let body = |model: &str, cap: &str, messages: &[&str]| {
            format!(r#"{{"model":"{model}",{cap}"messages":[{}]}}"#, messages.join(","))
        };
        let messages = [ask, &said(&[unsigned, own, so]), ask, &said(&[unsigned]), ask];
        let wanted = [ask, &said(&[own, so]), ask, ask];
        let request = parse(Surface::Anthropic, body("m", r#""max_tokens":5,"#, &messages)).expect("a request");
        let sent = request.upstream_body(ProviderKind::Anthropic, &target).expect("a body");
        assert_eq!(std::str::from_utf8(&sent), Ok(&*body("b", r#""max_tokens":9,"#, &wanted)), "{unsigned}");
        let count = TokenCountRequest::parse(Surface::Anthropic, body("m", "", &messages).into()).expect("a count");
        let counted = count.for_upstream(ProviderKind::Anthropic, &counting(true));
        let (_, sent) = counted.expect("a body").expect("it counts");
        assert_eq!(std::str::from_utf8(&sent), Ok(&*body("b", "", &wanted)), "{unsigned}");
        let nothing = parse(Surface::Anthropic, body("m", r#""max_tokens":5,"#, &[&said(&[unsigned])]));
        let refusal = nothing.expect("a request").upstream_body(ProviderKind::Anthropic, &target).unwrap_err();
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &"messages".into()));
    }
}

/// Holds: inf.anthropic-bad-input
#[test]
fn a_conversation_of_nothing_but_thoughts_of_others_is_refused() {
    let thought = r#"{"type":"thinking","thinking":"hm","signature":"gemini:c2ln"}"#;
    let said = format!(r#"{{"role":"assistant","content":[{thought},{thought}]}}"#);
    for messages in [said.clone(), [&*said; 2].join(",")] {
        let body = format!(r#"{{"model":"m","max_tokens":5,"messages":[{messages}]}}"#);
        let request = parse(Surface::Anthropic, body.clone()).expect("a request");
        for kind in [ProviderKind::Anthropic, ProviderKind::Vertex, ProviderKind::Bedrock] {
            let target = OutboundTarget { model: "claude-m", ..target() };
            let refusal = request.upstream_body(kind, &target).expect_err("nothing is left");
            assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &"messages".into()));
        }
        let count = TokenCountRequest::parse(Surface::Anthropic, body.into()).expect("a count");
        let counted = count.for_upstream(ProviderKind::Anthropic, &counting(false));
        let refusal = counted.err().expect("nothing is left");
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &"messages".into()));
    }
}

#[test]
fn a_cap_or_a_count_by_another_dialects_name_is_refused_on_messages() {
    for more in [
        r#","n":128"#,
        r#","max_completion_tokens":100000"#,
        r#","N":128"#,
        r#","Max_Completion_Tokens":100000"#,
        r#","maxCompletionTokens":100000"#,
        r#","max-completion-tokens":100000"#,
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
            .is_none_or(|request| request.unpriced(&BTreeSet::new()).is_some())
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
fn a_refusal_counts_the_messages_of_the_client_with_a_system_prompt_and_without() {
    let by_url = r#"{"type":"document","source":{"type":"url","url":"https://x.y/a"}}"#;
    let call = r#"{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]}"#;
    let result = r#"{"type":"tool_result","tool_use_id":"c"}"#;
    for system in ["", r#","system":null"#, r#","system":"s""#, r#","system":[{"type":"text","text":"s"}]"#] {
        let refused = |messages: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":5{system},"messages":[{messages}]}}"#);
            let request = parse(Surface::Anthropic, body).expect("a request");
            let refusal = request.upstream_body(ProviderKind::Bedrock, &target()).expect_err("it is refused");
            assert!(refusal.message.starts_with(refusal.details["field"].as_str().unwrap()), "{}", refusal.message);
            refusal.details["field"].clone()
        };
        assert_eq!(refused(&format!(r#"{{"role":"user","content":[{by_url}]}}"#)), "messages[0]", "{system}");
        let twice = format!(r#"{call},{{"role":"user","content":[{result},{result}]}}"#);
        assert_eq!(refused(&twice), "messages[1]", "{system}");
        assert_eq!(refused(r#"{"role":"user","content":[]}"#), "messages", "{system}");
        // What is refused as it is read has the client's number already.
        let cited = by_url.replace("}}", r#"},"citations":{"enabled":true}}"#);
        let path = "messages[0].content[0].citations";
        assert_eq!(refused(&format!(r#"{{"role":"user","content":[{cited}]}}"#)), path, "{system}");
    }
}

#[test]
fn a_result_may_be_of_a_call_that_is_elsewhere_where_that_is_allowed() {
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c"}]}"#;
    let with = |more: &str| {
        parse(Surface::Anthropic, format!(r#"{{"model":"m","max_tokens":5{more},"messages":[{result}]}}"#))
    };
    for (more, name) in [
        (r#","thread":{"id":"x"}"#, "thread"),
        (r#","context_management":{"edits":[{"type":"compact_1"}]}"#, "context_management"),
    ] {
        let request = with(more).unwrap_or_else(|refusal| panic!("{more}: {}", refusal.message));
        assert!(request.unpriced(ProviderKind::Anthropic, &NO_FIELDS).is_some(), "{more}");
        let allowed = BTreeSet::from([name.to_owned()]);
        let target = OutboundTarget { allowed_fields: &allowed, ..target() };
        assert!(request.upstream_body(ProviderKind::Anthropic, &target).is_ok(), "{more}");
    }
    for more in ["", r#","thread":null"#, r#","context_management":{"edits":[]}"#] {
        assert_eq!(with(more).err().expect(more).details["field"], "messages[0].content[0].tool_use_id");
    }
}

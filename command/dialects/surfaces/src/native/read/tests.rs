use intermediate::chat::{Block, ImageSource};

use super::*;

fn read(text: &str) -> Result<ChatRequest, Refusal> {
    super::read(text).map(|(chat, ..)| chat)
}

#[cfg(debug_assertions)]
#[test]
fn the_published_body_has_the_fields_that_are_read_and_no_others() {
    use std::collections::BTreeSet;

    use intermediate::fields::reads;

    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let read = reads::during(|| drop(read(body).unwrap()));
    let read: BTreeSet<String> = read.into_iter().filter(|path| !path.contains(['.', '['])).collect();
    let published = serde_json::to_value(super::super::described::request()).unwrap();
    let published: BTreeSet<String> = published["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(read, published);
}

fn field_of(text: &str) -> String {
    let refusal = read(text).expect_err(text);
    refusal.details["field"].as_str().unwrap().to_owned()
}

/// Holds: inf.native-request
#[test]
fn a_full_request_is_read() {
    let request = read(
        r#"{"model":"m","messages":[
            {"role":"system","content":"be brief"},
            {"role":"user","content":[{"type":"text","text":"what is it?"},
                {"type":"image","url":"data:image/png;base64,AAAA"},{"type":"image","url":"https://x/y.png","detail":"low"}]},
            {"role":"assistant","content":[{"type":"reasoning","text":"hm","signature":"s"},
                {"type":"tool_call","id":"c1","name":"look","arguments":{"at":1}}]},
            {"role":"tool","content":[{"type":"tool_result","id":"c1","content":[{"a":1}]},
                {"type":"tool_result","id":"c2","content":[{"type":"text","text":"t"}],"is_error":true}]}],
            "max_output_tokens":5,"temperature":0.70,"stop":"x","stream":true,
            "tools":[{"name":"look","parameters":{"type":"object"}}],"tool_choice":{"name":"look"},
            "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"strict":true}},
            "reasoning":{"budget_tokens":2048},"metadata":{"team":"red"}}"#,
    )
    .unwrap();
    assert_eq!(request.sampling.temperature.as_ref().unwrap().get(), "0.70");
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("look".into())));
    assert_eq!(request.reasoning, Some(Reasoning::budget(2048)));
    assert!(matches!(&request.messages[1].content[1],
        Block::Image(image) if matches!(&image.source, ImageSource::Inline { base64, .. } if base64 == "AAAA")));
    let Block::ToolResult(json) = &request.messages[3].content[0] else { panic!("a tool result") };
    assert!(matches!(&json.content[..], [Block::Text(text)] if text == r#"[{"a":1}]"#));
    let Block::ToolResult(blocks) = &request.messages[3].content[1] else { panic!("a tool result") };
    assert!(blocks.is_error && matches!(&blocks.content[..], [Block::Text(text)] if text == "t"));
}

/// Holds: http.invalid-request, http.unknown-fields
#[test]
fn what_is_wrong_is_named_by_its_path() {
    let ask = |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    let say = |message: &str| format!(r#"{{"model":"m","messages":[{message}]}}"#);
    for (text, field) in [
        (ask(r#","colour":"red""#), "colour"),
        (ask(r#","Stream":true"#), "Stream"),
        (ask(r#","stream":true,"stream":true"#), "stream"),
        (ask(r#","max_output_tokens":-1"#), "max_output_tokens"),
        (ask(r#","max_output_tokens":0"#), "max_output_tokens"),
        (ask(r#","max_output_tokens":1.0"#), "max_output_tokens"),
        (ask(r#","max_output_tokens":"many""#), "max_output_tokens"),
        (ask(r#","max_output_tokens":1000000000000000000000000000000"#), "max_output_tokens"),
        (ask(r#","tools":[{"name":"x"},{"parameters":{}}]"#), "tools[1].name"),
        (ask(r#","tool_choice":"any""#), "tool_choice"),
        (ask(r#","reasoning":{"effort":"huge"}"#), "reasoning.effort"),
        (ask(r#","reasoning":{}"#), "reasoning"),
        (ask(r#","metadata":{"a":1}"#), "metadata.a"),
        (ask(r#","stop":["a",1]"#), "stop[1]"),
        (ask(r#","n":0"#), "n"),
        (ask(r#","n":129"#), "n"),
        (ask(r#","seed":"7""#), "seed"),
        (ask(r#","top_k":0"#), "top_k"),
        (ask(r#","logit_bias":[]"#), "logit_bias"),
        (ask(r#","top_logprobs":2"#), "top_logprobs"),
        (ask(r#","logprobs":true,"top_logprobs":129"#), "top_logprobs"),
        (ask(r#","parallel_tool_calls":1"#), "parallel_tool_calls"),
        (say(""), "messages"),
        (say(r#"{"role":"user"}"#), "messages[0].content"),
        (say(r#"{"role":"robot","content":"x"}"#), "messages[0].role"),
        (say(r#"{"role":"tool","content":"x"}"#), "messages[0].content"),
        (say(r#"{"role":"user","content":[{"type":"text"}]}"#), "messages[0].content[0].text"),
        (say(r#"{"role":"user","content":[{"type":"audio"}]}"#), "messages[0].content[0].type"),
        (say(r#"{"role":"user","content":[{"type":"tool_call","id":"1","name":"n"}]}"#), "messages[0].content[0]"),
        (say(r#"{"role":"user","content":[{"type":"image","url":"ftp://x"}]}"#), "messages[0].content[0].url"),
        (
            say(r#"{"role":"user","content":[{"type":"image","url":"data:application/pdf;base64,AAAA"}]}"#),
            "messages[0].content[0].url",
        ),
        (
            say(r#"{"role":"user","content":[{"type":"image","media_type":"application/pdf","data":"AAAA"}]}"#),
            "messages[0].content[0].media_type",
        ),
        (r#"{"model":"m","messages":"hello"}"#.into(), "messages"),
        (r#"{"model":7,"messages":[]}"#.into(), "model"),
        (r#"{"model":"","messages":[]}"#.into(), "model"),
        (r#"{"messages":[{"role":"user","content":"hi"}]}"#.into(), "model"),
    ] {
        assert_eq!(field_of(&text), field, "{text}");
    }
}

/// Holds: inf.metadata
#[test]
fn metadata_is_bounded() {
    let with = |pairs: usize| {
        let pairs: Vec<String> = (0..pairs).map(|n| format!(r#""k{n}":"v""#)).collect();
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"metadata":{{{}}}}}"#, pairs.join(","))
    };
    assert_eq!(read(&with(16)).unwrap().metadata.len(), 16);
    assert_eq!(field_of(&with(17)), "metadata");
}

/// Holds: http.json
#[test]
fn white_space_around_a_body_changes_nothing() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    for text in [format!("\r\n \t{body}\n"), format!("\n{}", body.replace(',', " ,\n"))] {
        assert_eq!(read(&text).unwrap().messages.len(), 1, "{text}");
    }
    assert_eq!(field_of(" [] "), "");
}

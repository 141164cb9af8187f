use events::refusal::ErrorCode;
use intermediate::chat::{Document, DocumentSource, Feature, Image, ReasoningBlock, ToolCall, ToolResult};

use super::*;

fn read(more: &str) -> Result<(Facts, ResponsesRequest), Refusal> {
    ResponsesRequest::read(&format!(r#"{{"model":"m",{more}}}"#))
}

fn chat(more: &str) -> ChatRequest {
    *read(more).unwrap_or_else(|refusal| panic!("{}: {more}", refusal.message)).1.chat
}

/// Roles, and a word for each block.
fn outline(chat: &ChatRequest) -> Vec<(Role, Vec<String>)> {
    let word = |block: &Block| match block {
        Block::Text(text) => text.clone(),
        Block::Image(image) => format!("image {:?}", image.detail),
        Block::ToolCall(ToolCall { id, signature, .. }) => format!("call {id} {signature:?}"),
        Block::ToolResult(ToolResult { id, content, .. }) => format!("result {id} of {}", content.len()),
        Block::Reasoning(ReasoningBlock { text, signature, redacted }) => format!("{text} {signature:?} {redacted:?}"),
        Block::Document(Document { title, .. }) => format!("document {title:?}"),
        Block::CachePoint(_) => "cache".to_owned(),
    };
    chat.messages.iter().map(|message| (message.role, message.content.iter().map(word).collect())).collect()
}

#[test]
fn items_of_one_turn_are_one_message() {
    let chat = chat(
        r#""instructions":"Be brief.","input":[
            {"role":"user","content":"weather?"},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"ledgerway.signature.c2ln"},
            {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"ledgerway.redacted.ZW5j"},
            {"type":"message","id":"msg_3","status":"completed","role":"assistant","phase":null,
             "content":[{"type":"output_text","text":"Looking.","annotations":[],"logprobs":[]}]},
            {"type":"reasoning","id":"rs_4","summary":[],"encrypted_content":"ledgerway.call.2.c1.proof"},
            {"type":"function_call","id":"fc_5","call_id":"c1","name":"f","arguments":"{}","status":"completed"},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"and"}],"encrypted_content":"ledgerway.call.2.c2.p2"},
            {"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"12"},
            {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]},
            {"role":"developer","content":[{"type":"input_text","text":"Now."}]},
            {"role":"assistant","content":"So"},
            {"type":"reasoning","summary":[]}]"#,
    );
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        outline(&chat),
        [
            (Role::System, words(&["Be brief."])),
            (Role::User, words(&["weather?"])),
            (
                Role::Assistant,
                words(&[
                    "hm Some(\"c2ln\") None", " None Some(\"ZW5j\")", "Looking.", "call c1 Some(\"proof\")",
                    "and None None", "call c2 Some(\"p2\")"
                ])
            ),
            (Role::Tool, words(&["result c1 of 1"])),
            (Role::Tool, words(&["result c2 of 2"])),
            (Role::System, words(&["Now."])),
            (Role::Assistant, words(&["So"])),
        ]
    );
}

#[test]
fn parts_are_read_into_the_intermediate_form() {
    let chat = chat(
        r#""input":[{"role":"user","content":[{"type":"input_text","text":"see"},
            {"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low","file_id":null},
            {"type":"input_image","image_url":"https://example.com/a.png"},
            {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"},
            {"type":"input_file","file_url":"https://example.com/a.pdf"}]}]"#,
    );
    let [Message { content, .. }] = &*chat.messages else { panic!("one message") };
    assert!(matches!(&content[1], Block::Image(Image { detail: Some(detail), .. }) if detail == "low"));
    assert!(
        matches!(&content[3], Block::Document(Document { source: DocumentSource::Inline { media_type, base64 }, .. })
        if (&**media_type, &**base64) == ("application/pdf", "JVBE"))
    );
    assert!(matches!(&content[4], Block::Document(Document { source: DocumentSource::Url(_), .. })));
    assert!(chat.features().contains(Feature::Document));
}

#[test]
fn settings_are_read_in_their_own_form() {
    let (facts, request) = read(
        r#""input":"hi","max_output_tokens":9,"temperature":0.50,"top_p":1,"top_logprobs":2,"stream":true,
           "include":["reasoning.encrypted_content","message.output_text.logprobs"],"store":false,"background":false,
           "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true,"description":"d"}],
           "tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"truncation":"disabled",
           "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true},"verbosity":"low"},
           "reasoning":{"effort":"high","summary":"auto"},"metadata":{"team":"red"},"user":"u","service_tier":"auto",
           "safety_identifier":"s","prompt_cache_key":"p","stream_options":{"include_obfuscation":false},
           "previous_response_id":null,"max_tool_calls":null,"prompt":null,"conversation":null"#,
    )
    .unwrap_or_else(|refusal| panic!("{}", refusal.message));
    assert_eq!(facts.output_cap, Some(RequestedCap { field: "max_output_tokens", tokens: Some(9) }));
    assert!(facts.streamed && facts.has_tools);
    assert_eq!(facts.directives.metadata["team"], "red");
    let chat = &*request.chat;
    assert_eq!(chat.sampling.temperature.as_ref().map(|number| number.get()), Some("0.50"));
    assert_eq!(chat.logprobs, Some(Logprobs { top: Some(2) }));
    assert_eq!(chat.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!((chat.parallel_tool_calls, chat.tools[0].strict), (Some(false), Some(true)));
    assert!(matches!(&chat.response_format, Some(ResponseFormat::JsonSchema { strict: Some(true), .. })));
    assert_eq!(chat.reasoning, Some(Reasoning::effort("high")));
    assert_eq!(chat.user.as_deref(), Some("u"));
}

#[test]
fn what_cannot_be_done_is_refused_by_its_name() {
    let item = |item: &str| format!(r#""input":[{item}]"#);
    let part = |part: &str| item(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let with = |more: &str| format!(r#""input":"x",{more}"#);
    for (body, field, says) in [
        (with(r#""previous_response_id":"resp_1""#), "previous_response_id", "keeps no responses"),
        (with(r#""conversation":{"id":"c"}"#), "conversation", "keeps no responses"),
        (with(r#""store":true"#), "store", "keeps no responses"),
        (with(r#""background":true"#), "background", "must be false"),
        (with(r#""prompt":{"id":"p"}"#), "prompt", "templates"),
        (with(r#""max_tool_calls":1"#), "max_tool_calls", "not supported"),
        (with(r#""truncation":"auto""#), "truncation", "disabled"),
        (with(r#""include":["web_search_call.results"]"#), "include[0]", "must be"),
        (with(r#""tools":[{"type":"web_search"}]"#), "tools[0].type", "web_search"),
        (with(r#""tools":[{"type":"custom","name":"c"}]"#), "tools[0].type", "custom"),
        (with(r#""tools":[{"type":"function","name":"c","defer_loading":true}]"#), "tools[0].defer_loading", "unknown"),
        (with(r#""tool_choice":{"type":"allowed_tools","tools":[]}"#), "tool_choice.type", "allowed_tools"),
        (with(r#""max_tokens":3"#), "max_tokens", "use max_output_tokens"),
        (with(r#""messages":[{}]"#), "messages", "use input"),
        (with(r#""Stream":true"#), "Stream", "stream"),
        (with(r#""stop":["x"]"#), "stop", "unknown field"),
        (with(r#""text":{"format":{"type":"grammar"}}"#), "text.format.type", "must be"),
        (with(r#""text":{"Format":{"type":"text"}}"#), "text.Format", "format"),
        (with(r#""reasoning":{"mode":"pro"}"#), "reasoning.mode", "standard"),
        (with(r#""reasoning":{"effort":"huge"}"#), "reasoning.effort", "must be one of"),
        (with(r#""stream_options":{"include_usage":true}"#), "stream_options.include_usage", "unknown"),
        (r#""instructions":"x""#.to_owned(), "input", "is required"),
        (r#""input":[]"#.to_owned(), "input", "not be empty"),
        (item(r#"{"type":"item_reference","id":"msg_1"}"#), "input[0].type", "keeps no responses"),
        (item(r#"{"id":"msg_1"}"#), "input[0].type", "is required"),
        (item(r#"{"type":"web_search_call","id":"w"}"#), "input[0].type", "must be message"),
        (
            item(r#"{"type":"reasoning","summary":[],"encrypted_content":"gAAAA"}"#),
            "input[0].encrypted_content",
            "gateway",
        ),
        (item(r#"{"type":"function_call","call_id":"c","name":"f"}"#), "input[0].arguments", "is required"),
        (item(r#"{"role":"tool","content":"x"}"#), "input[0].role", "must be"),
        (
            item(r#"{"role":"system","content":[{"type":"input_image","image_url":"https://a"}]}"#),
            "input[0].content[0].type",
            "not a type",
        ),
        (part(r#"{"type":"input_image","file_id":"file_1"}"#), "input[0].content[0].file_id", "keeps no files"),
        (part(r#"{"type":"input_file","file_id":"file_1"}"#), "input[0].content[0].file_id", "keeps no files"),
        (part(r#"{"type":"input_file","file_data":"JVBE"}"#), "input[0].content[0].file_data", "base64"),
        (part(r#"{"type":"input_audio","data":"x"}"#), "input[0].content[0].type", "must be"),
        (part(r#"{"type":"input_text","text":"x","more":1}"#), "input[0].content[0].more", "unknown"),
    ] {
        let refusal = read(&body).err().unwrap_or_else(|| panic!("{body} is taken"));
        assert_eq!(
            (refusal.code, refusal.details["field"].as_str()),
            (ErrorCode::InvalidRequest, Some(field)),
            "{body}"
        );
        assert!(refusal.message.contains(says), "{}", refusal.message);
    }
    let refusal = read(&with(r#""service_tier":"scale""#)).err().expect("another price");
    assert_eq!((refusal.code, refusal.details["field"].as_str()), (ErrorCode::ModelUnpriced, Some("service_tier")));
}

use events::refused_parameters::RefusedParameters;
use intermediate::chat::{
    Block, CacheLifetime, ChatRequest, Document, DocumentSource, Image, ImageSource, Message, Reasoning,
    ReasoningBlock, ResponseFormat, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use serde_json::{Value, json};

use crate::bedrock::UPSTREAM;
use crate::{NO_FIELDS, OutboundTarget, UpstreamCap};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-6";
const LLAMA: &str = "meta.llama3-70b-instruct-v1:0";
const OPAQUE: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2";

/// The body, or the message of the refusal.
fn sent(model: &str, chat: &ChatRequest) -> Result<Value, String> {
    let target = OutboundTarget {
        model,
        output_cap: UpstreamCap { tokens: 4096, field: None },
        refused: RefusedParameters::NONE,
        server: None,
        takes_signed_thoughts_alone: false,
        context_window: None,
        system_prefix: Some("House rules."),
        allowed_fields: &NO_FIELDS,
    };
    let body = (UPSTREAM.request_body)(chat, &target).map_err(|refusal| refusal.message)?;
    Ok(serde_json::from_slice(&body).expect("a body is JSON"))
}

fn text(text: &str) -> Block {
    Block::Text(text.to_owned())
}

fn message(role: Role, content: Vec<Block>) -> Message {
    Message { role, content }
}

fn chat(messages: Vec<Message>) -> ChatRequest {
    ChatRequest { messages, ..ChatRequest::default() }
}

fn asked() -> ChatRequest {
    chat(vec![message(Role::User, vec![text("hi")])])
}

fn call(id: &str, name: &str) -> Block {
    Block::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: r#"{"a":1}"#.into(), signature: None })
}

fn result(id: &str, content: Vec<Block>, is_error: bool) -> Block {
    Block::ToolResult(ToolResult { id: id.into(), content, is_error })
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), description: None, parameters: None, strict: None, cache_point: None, has_hints: false }
}

fn image(media_type: &str) -> Block {
    let source = ImageSource::Inline { media_type: media_type.into(), base64: "AAAA".into() };
    Block::Image(Image { source, detail: None })
}

fn document(title: Option<&str>, source: DocumentSource) -> Block {
    Block::Document(Document { source, title: title.map(str::to_owned) })
}

fn inline(media_type: &str) -> DocumentSource {
    DocumentSource::Inline { media_type: media_type.into(), base64: "AAAA".into() }
}

#[test]
fn turns_alternate_and_begin_with_the_results_of_tools() {
    let mut request = chat(vec![
        message(Role::System, vec![text("Be brief."), Block::CachePoint(CacheLifetime::Long), text(" ")]),
        message(Role::User, vec![text("hi"), text("  ")]),
        // Nothing is left of this one.
        message(
            Role::Assistant,
            vec![Block::Reasoning(ReasoningBlock { text: "hm".into(), signature: None, redacted: None })],
        ),
        message(Role::User, vec![text("still there?")]),
        message(Role::Assistant, vec![call("a", "f"), call("b", "f")]),
        message(Role::User, vec![text("and"), Block::CachePoint(CacheLifetime::Short)]),
        message(
            Role::Tool,
            vec![result("a", vec![text("1"), Block::CachePoint(CacheLifetime::Short), image("image/png")], false)],
        ),
        message(Role::Tool, vec![result("b", vec![], true)]),
        message(Role::Assistant, vec![]),
    ]);
    request.tools = vec![tool("f")];
    let body = sent(CLAUDE, &request).unwrap();
    assert_eq!(
        body["system"],
        json!([{"text": "House rules."}, {"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}])
    );
    let called = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {"a": 1}}});
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "hi"}, {"text": "still there?"}]},
            {"role": "assistant", "content": [called("a"), called("b")]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]}},
                point,
                {"toolResult": {"toolUseId": "b", "content": [], "status": "error"}},
                {"text": "and"},
                point,
            ]},
        ])
    );
}

#[test]
fn calls_become_text_if_no_tool_may_be_called() {
    let messages = vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![call("a", "f")]),
        message(Role::Tool, vec![result("a", vec![text("1"), image("image/webp")], true)]),
    ];
    for (tools, tool_choice) in [(vec![], None), (vec![tool("f")], Some(ToolChoice::None))] {
        let body = sent(CLAUDE, &ChatRequest { tools, tool_choice, ..chat(messages.clone()) }).unwrap();
        assert_eq!(body.get("toolConfig"), None);
        assert_eq!(body["messages"][1]["content"], json!([{"text": "[call a of f: {\"a\":1}]"}]));
        let image = json!({"image": {"format": "webp", "source": {"bytes": "AAAA"}}});
        assert_eq!(body["messages"][2]["content"], json!([{"text": "[error of call a]"}, {"text": "1"}, image]));
    }
}

#[test]
fn tools_are_sent_with_the_choice_among_them() {
    for (tool_choice, wanted) in [
        (None, Value::Null),
        (Some(ToolChoice::Auto), json!({"auto": {}})),
        (Some(ToolChoice::Required), json!({"any": {}})),
        (Some(ToolChoice::Named("f".into())), json!({"tool": {"name": "f"}})),
    ] {
        let cached = Tool {
            cache_point: Some(CacheLifetime::Short),
            strict: Some(true),
            description: Some("d".into()),
            ..tool("f")
        };
        let request = ChatRequest { tools: vec![cached, tool("g")], tool_choice, ..asked() };
        let body = sent(CLAUDE, &request).unwrap();
        let schema = json!({"json": {"type": "object"}});
        assert_eq!(
            body["toolConfig"]["tools"],
            json!([
                {"toolSpec": {"name": "f", "description": "d", "inputSchema": schema, "strict": true}},
                {"cachePoint": {"type": "default"}},
                {"toolSpec": {"name": "g", "inputSchema": schema}},
            ])
        );
        assert_eq!(body["toolConfig"]["toolChoice"], wanted);
        // Other models take no cache points.
        assert_eq!(sent(LLAMA, &request).unwrap()["toolConfig"]["tools"].as_array().map(Vec::len), Some(2));
    }
    let request = ChatRequest { tools: vec![tool("f"), tool("a.b")], ..asked() };
    assert!(sent(CLAUDE, &request).unwrap_err().starts_with("tools[1]: must have a name of 1 to 64"));
}

#[test]
fn at_most_one_call_is_asked_of_claude_alone() {
    for (tool_choice, wanted) in [
        (None, json!({"type": "auto", "disable_parallel_tool_use": true})),
        (Some(ToolChoice::Auto), json!({"disable_parallel_tool_use": true})),
    ] {
        let request = ChatRequest { tools: vec![tool("f")], tool_choice, parallel_tool_calls: Some(false), ..asked() };
        for model in [CLAUDE, OPAQUE] {
            assert_eq!(sent(model, &request).unwrap()["additionalModelRequestFields"]["tool_choice"], wanted);
        }
        assert!(!sent(LLAMA, &request).unwrap()["additionalModelRequestFields"].is_object());
    }
}

#[test]
fn documents_have_formats_and_names() {
    let request = chat(vec![message(
        Role::User,
        vec![
            document(Some("a/b.pdf"), inline("application/pdf")),
            document(None, DocumentSource::Text("plain é".into())),
            document(Some("a/b.pdf"), inline("text/csv")),
        ],
    )]);
    let body = sent(LLAMA, &request).unwrap();
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"document": {"format": "pdf", "name": "a-b-pdf 1", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "txt", "name": "Document 2", "source": {"bytes": "cGxhaW4gw6k="}}},
            {"document": {"format": "csv", "name": "a-b-pdf 3", "source": {"bytes": "AAAA"}}},
        ])
    );
}

#[test]
fn what_bedrock_does_not_take_is_refused_with_its_place() {
    let url = DocumentSource::Url("https://example.com/a.pdf".into());
    for (block, reason) in [
        (image("image/bmp"), "messages[1]: has an image of another type"),
        (document(None, inline("application/zip")), "messages[1]: has a document of another type"),
        (document(None, url), "messages[1]: has a document by URL"),
        (result("a", vec![image("image/bmp")], false), "messages[1]: has an image of another type"),
    ] {
        let request = chat(vec![message(Role::User, vec![text("hi")]), message(Role::User, vec![block])]);
        let message = sent(CLAUDE, &request).unwrap_err();
        assert!(message.starts_with(reason), "{message}");
    }
    assert!(sent(CLAUDE, &chat(vec![message(Role::System, vec![text("x")])])).unwrap_err().starts_with("messages: "));
}

#[test]
fn each_model_is_asked_to_think_in_its_own_words() {
    let effort = |effort: &str| Some(Reasoning::effort(effort));
    let budget = |tokens| Some(Reasoning::budget(tokens));
    for (model, reasoning, fields, output) in [
        (CLAUDE, effort("minimal"), json!({"thinking": {"type": "adaptive"}}), json!({"effort": "low"})),
        (CLAUDE, effort("xhigh"), json!({"thinking": {"type": "adaptive"}}), json!({"effort": "xhigh"})),
        (CLAUDE, effort("none"), json!({"thinking": {"type": "disabled"}}), Value::Null),
        (OPAQUE, effort("none"), Value::Null, Value::Null),
        (CLAUDE, budget(2048), json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}), Value::Null),
        (OPAQUE, effort("high"), Value::Null, json!({"effort": "high"})),
        (OPAQUE, budget(1024), json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), Value::Null),
        (
            "us.amazon.nova-2-lite-v1:0",
            effort("max"),
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
            Value::Null,
        ),
        ("openai.gpt-oss-20b-1:0", effort("medium"), json!({"reasoning_effort": "medium"}), Value::Null),
        ("openai.gpt-5.4", effort("xhigh"), json!({"reasoning": {"effort": "xhigh"}}), Value::Null),
        (LLAMA, effort("high"), Value::Null, json!({"effort": "high"})),
    ] {
        let body = sent(model, &ChatRequest { reasoning: reasoning.clone(), ..asked() }).unwrap();
        assert_eq!(body["additionalModelRequestFields"], fields, "{model} {reasoning:?}");
        assert_eq!(body["outputConfig"], output, "{model} {reasoning:?}");
    }
    for (model, tokens) in [(CLAUDE, 1023), (CLAUDE, 4096), (LLAMA, 2048)] {
        let message = sent(model, &ChatRequest { reasoning: budget(tokens), ..asked() }).unwrap_err();
        assert!(message.starts_with("reasoning.budget_tokens: "), "{message}");
    }
    // Claude does not think if a tool is forced.
    let tools = vec![tool("f")];
    let request = ChatRequest { reasoning: effort("high"), tools, tool_choice: Some(ToolChoice::Required), ..asked() };
    assert_eq!(sent(CLAUDE, &request).unwrap().get("additionalModelRequestFields"), None);
}

#[test]
fn sampling_and_a_schema_are_written_as_converse_has_them() {
    let mut request = asked();
    request.sampling.top_k = Some(40);
    request.stop = vec!["END".to_owned()];
    let schema = serde_json::from_str(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#).unwrap();
    let (name, description) = (Some("n".into()), Some("d".into()));
    request.response_format = Some(ResponseFormat::JsonSchema { name, description, schema, strict: Some(true) });
    let body = sent(CLAUDE, &request).unwrap();
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 4096, "stopSequences": ["END"]}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 40}));
    let closed = r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#;
    let structure = json!({"jsonSchema": {"schema": closed, "name": "n", "description": "d"}});
    assert_eq!(body["outputConfig"], json!({"textFormat": {"type": "json_schema", "structure": structure}}));
    let nova = sent("amazon.nova-lite-v1:0", &request).unwrap();
    assert_eq!(nova["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 40}}));
}

#[test]
fn signed_reasoning_goes_back_to_models_that_take_it() {
    let signed = ReasoningBlock { text: "hm".into(), signature: Some("c2ln".into()), redacted: None };
    let redacted = ReasoningBlock { text: String::new(), signature: None, redacted: Some("ZW5j".into()) };
    let answer = message(Role::Assistant, vec![Block::Reasoning(signed), Block::Reasoning(redacted), text("so")]);
    let request = chat(vec![message(Role::User, vec![text("hi")]), answer]);
    let content = |model| sent(model, &request).unwrap()["messages"][1]["content"].take();
    assert_eq!(
        content(CLAUDE),
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": "ZW5j"}},
            {"text": "so"},
        ])
    );
    assert_eq!(content(LLAMA), json!([{"text": "so"}]));
}

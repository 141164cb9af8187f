//! Values that are right in a client's dialect and refused by a provider: they are sent in the form that it takes.

use serde_json::{Value, json};

use super::*;

const CLAUDE_ON_VERTEX: &str = "claude-sonnet-4-6";
const CLAUDE_ON_BEDROCK: &str = "anthropic.claude-sonnet-4-6";

fn sent(kind: ProviderKind, target: &OutboundTarget<'_>, body: &Value) -> Result<Value, Refusal> {
    let request = parse(Surface::OpenAi, body.to_string())?;
    let bytes = request.upstream_body(kind, target)?;
    Ok(serde_json::from_slice(&bytes).expect("a body is JSON"))
}

fn to_claude(kind: ProviderKind, body: &Value) -> Result<Value, Refusal> {
    let model = match kind {
        ProviderKind::Vertex => CLAUDE_ON_VERTEX,
        ProviderKind::Bedrock => CLAUDE_ON_BEDROCK,
        _ => "claude-sonnet-4-6",
    };
    sent(kind, &OutboundTarget { model, ..target() }, body)
}

/// The role of each message with its texts.
fn said(body: &Value) -> Vec<String> {
    let texts = |message: &Value| -> Vec<String> {
        let blocks = message["content"].as_array().expect("blocks");
        blocks.iter().map(|block| block["text"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let line =
        |message: &Value| format!("{}:{}", message["role"].as_str().unwrap_or_default(), texts(message).join("|"));
    body["messages"].as_array().expect("messages").iter().map(line).collect()
}

fn message(role: &str, content: impl Into<Value>) -> Value {
    json!({"role": role, "content": content.into()})
}

#[test]
fn blank_text_is_left_out_for_claude_wherever_it_runs() {
    let parts = |texts: &[&str]| -> Value { texts.iter().map(|text| json!({"type": "text", "text": text})).collect() };
    let (user, assistant) = (|text: &str| message("user", text), |text: &str| message("assistant", text));
    for (messages, wanted) in [
        (vec![message("system", "   "), user("hi")], &["user:hi"][..]),
        (vec![user("hi"), assistant(" "), user("still there?")], &["user:hi|still there?"]),
        (vec![user("hi"), assistant("yes"), user("\n"), assistant("well")], &["user:hi", "assistant:yes|well"]),
        (vec![message("user", parts(&["", "hi", " \n", "there"]))], &["user:hi|there"]),
        // Without these the conversation would end, or begin, with the assistant.
        (vec![user("hi"), assistant("yes"), user("\n")], &["user:hi", "assistant:yes", "user:."]),
        (vec![user(""), assistant("How can I help?"), user("hi")], &["user:.", "assistant:How can I help?", "user:hi"]),
        (vec![user(" "), assistant(" "), user("hi")], &["user:hi"]),
        // A response that the model is to go on with.
        (vec![user("hi"), assistant("Well, \n")], &["user:hi", "assistant:Well,"]),
        (vec![user("hi"), assistant("Well, \n"), user("go on")], &["user:hi", "assistant:Well, \n", "user:go on"]),
    ] {
        let body = json!({"model": "m", "max_tokens": 5, "messages": messages});
        for kind in [ProviderKind::Anthropic, ProviderKind::Vertex, ProviderKind::Bedrock] {
            let sent = to_claude(kind, &body).expect("taken");
            assert_eq!(said(&sent), wanted, "{kind:?} {body}");
            assert_eq!(sent.get("system"), None, "{sent}");
        }
    }
    let result = json!({"role": "tool", "tool_call_id": "a", "content": " "});
    let call = json!({"role": "assistant", "content": "\n", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let body = json!({"model": "m", "messages": [user("hi"), call, result]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(sent["messages"][1]["content"], json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
    assert_eq!(sent["messages"][2]["content"], json!([{"type": "tool_result", "tool_use_id": "a", "content": []}]));
}

#[test]
fn a_conversation_that_the_assistant_begins_begins_with_a_turn_of_the_user_for_bedrock() {
    let messages = [message("assistant", "How can I help?"), message("user", "hi")];
    let body = json!({"model": "m", "messages": messages});
    let greeted = to_claude(ProviderKind::Bedrock, &body).expect("taken");
    assert_eq!(said(&greeted), ["user:.", "assistant:How can I help?", "user:hi"]);
    let greeted = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(said(&greeted), ["assistant:How can I help?", "user:hi"]);
}

#[test]
fn a_mark_of_a_cache_on_blank_text_is_that_of_the_block_before_it() {
    let cached = |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let body = json!({"model": "m", "messages": [
        message("system", json!([{"type": "text", "text": "Be brief."}, cached(" ")])),
        message("user", json!([{"type": "text", "text": "hi"}, cached("\n")])),
    ]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    assert_eq!(sent["system"], json!([cached("Be brief.")]));
    assert_eq!(sent["messages"], json!([message("user", json!([cached("hi")]))]));
}

#[test]
fn an_image_has_a_type_that_providers_know_however_the_client_spells_it() {
    for url in [
        "data:image/jpg;base64,YWJjYWI=",
        "data:IMAGE/JPEG;BASE64,YWJjYWI=",
        "data:image/jpeg;charset=utf-8;base64,YWJjYWI",
        "data:image/pjpeg;base64,YWJj\r\nYWI=\n",
    ] {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let body = json!({"model": "m", "messages": [message("user", json!([image]))]});
        let of = |kind, model| sent(kind, &OutboundTarget { model, ..target() }, &body).expect("taken");
        let source = json!({"type": "base64", "media_type": "image/jpeg", "data": "YWJjYWI="});
        for (kind, model) in [(ProviderKind::Anthropic, "m"), (ProviderKind::Vertex, CLAUDE_ON_VERTEX)] {
            assert_eq!(of(kind, model)["messages"][0]["content"][0]["source"], source, "{url}");
        }
        let inline = json!({"inlineData": {"mimeType": "image/jpeg", "data": "YWJjYWI="}});
        for kind in [ProviderKind::Gemini, ProviderKind::Vertex] {
            assert_eq!(of(kind, "gemini-2.5-pro")["contents"][0]["parts"][0], inline, "{url}");
        }
        let converse = &of(ProviderKind::Bedrock, CLAUDE_ON_BEDROCK)["messages"][0]["content"][0]["image"];
        assert_eq!(converse, &json!({"format": "jpeg", "source": {"bytes": "YWJjYWI="}}), "{url}");
        assert_eq!(of(ProviderKind::Ollama, "m")["messages"][0]["images"], json!(["YWJjYWI="]), "{url}");
        let cohere = &of(ProviderKind::Cohere, "m")["messages"][0]["content"][0]["image_url"]["url"];
        assert_eq!(cohere, "data:image/jpeg;base64,YWJjYWI=");
    }
    for (surface, block) in [
        (Surface::Native, r#"{"type":"image","media_type":"image/JPG","data":"YWJj\nYWI="}"#),
        (
            Surface::Anthropic,
            r#"{"type":"image","source":{"type":"base64","media_type":"image/jpg;x=y","data":"YWJj\nYWI="}}"#,
        ),
    ] {
        let cap = if surface == Surface::Anthropic { r#""max_tokens":5,"# } else { "" };
        let body = format!(r#"{{"model":"m",{cap}"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        let request = parse(surface, body).unwrap_or_else(|refusal| panic!("{}", refusal.message));
        let bytes = request.upstream_body(ProviderKind::Openai, &target()).expect("taken");
        let sent: Value = serde_json::from_slice(&bytes).expect("JSON");
        let url = &sent["messages"][0]["content"][0]["image_url"]["url"];
        assert_eq!(url, "data:image/jpeg;base64,YWJjYWI=", "{surface:?}");
    }
}

#[test]
fn a_document_has_a_type_that_providers_know_too() {
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "DATA:Application/X-PDF;q=1;base64,JVBE\nRg=="}});
    let body = json!({"model": "m", "messages": [message("user", json!([file]))]});
    let sent = to_claude(ProviderKind::Anthropic, &body).expect("taken");
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="});
    assert_eq!(sent["messages"][0]["content"][0]["source"], source);
}

/// A history of two parallel calls of another provider: their ids have 94 characters, of which the first 64 are the same.
fn foreign_history() -> Value {
    let id = |number: u8| format!("call_{}|fc:{number}{}", "x".repeat(60), "y".repeat(24));
    let call = |number| json!({"id": id(number), "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let result = |number| json!({"role": "tool", "tool_call_id": id(number), "content": number.to_string()});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [call(1), call(2)]});
    json!({"model": "m", "max_tokens": 5, "messages": [message("user", "hi"), called, result(2), result(1)]})
}

#[test]
fn ids_of_another_provider_are_fitted_and_still_match() {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    for (kind, server, chars_max) in [
        (ProviderKind::Openai, Some(Server::Openai), 64),
        (ProviderKind::AzureOpenai, None, 40),
        (ProviderKind::Openai, Some(Server::Mistral), 9),
        (ProviderKind::Anthropic, None, 64),
        (ProviderKind::Vertex, None, 64),
        (ProviderKind::Bedrock, None, 64),
    ] {
        let model = match kind {
            ProviderKind::Vertex => CLAUDE_ON_VERTEX,
            _ => CLAUDE_ON_BEDROCK,
        };
        let target = OutboundTarget { server, model, ..target() };
        let history = foreign_history();
        let mut with_tool = history.clone();
        with_tool["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        let body = sent(kind, &target, &with_tool).expect("taken");
        let ids = call_ids_of(&body);
        assert_eq!(ids.len(), 4, "{body}");
        let [first, second, answer_of_second, answer_of_first] = <[String; 4]>::try_from(ids).expect("four");
        assert_eq!((&first, &second), (&answer_of_first, &answer_of_second), "{kind:?}");
        assert_ne!(first, second, "{kind:?}");
        for id in [&first, &second] {
            assert!(id.len() <= chars_max && id.chars().all(is_name), "{kind:?} {id}");
        }
        assert_eq!(sent(kind, &target, &with_tool).expect("taken"), body, "always in the same way");
    }
    // A server of which nothing is known may give its ids a meaning.
    let history = foreign_history();
    let body = sent(ProviderKind::Openai, &target(), &history).expect("taken");
    assert_eq!(body["messages"], history["messages"]);
}

/// The ids of calls and results of a body of any of these dialects, in order.
fn call_ids_of(value: &Value) -> Vec<String> {
    match value {
        Value::Array(elements) => elements.iter().flat_map(call_ids_of).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("id" | "tool_call_id" | "tool_use_id" | "toolUseId", Value::String(id)) => vec![id.clone()],
                (_, value) => call_ids_of(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn ids_that_fit_are_passed_on_as_they_are() {
    for id in ["call_1", &*"x".repeat(64)] {
        let body = json!({"model": "m", "messages": [
            {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": id, "content": "1"},
        ]});
        let target = OutboundTarget { server: Some(Server::Openai), ..target() };
        assert_eq!(sent(ProviderKind::Openai, &target, &body).expect("taken")["messages"], body["messages"]);
    }
}

#[test]
fn ids_that_claude_refuses_are_fitted_in_a_body_of_its_own_dialect_too() {
    let call = json!({"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {"id": "functions.f:0"}});
    let result = json!({"type": "tool_result", "tool_use_id": "functions.f:0", "content": "1"});
    let body = json!({"model": "m", "max_tokens": 5, "messages": [
        message("user", "hi"), message("assistant", json!([call])), message("user", json!([result])),
    ]});
    let request = parse(Surface::Anthropic, body.to_string()).unwrap_or_else(|refusal| panic!("{}", refusal.message));
    let sent = |takes_signed_thoughts_alone| -> Value {
        let target = OutboundTarget { takes_signed_thoughts_alone, ..target() };
        let bytes = request.upstream_body(ProviderKind::Anthropic, &target).expect("taken");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let fitted = sent(true);
    let id = "functions_f_0_b9a7d792";
    assert_eq!(fitted["messages"][1]["content"][0]["id"], id);
    assert_eq!(fitted["messages"][1]["content"][0]["input"], json!({"id": "functions.f:0"}));
    assert_eq!(fitted["messages"][2]["content"][0]["tool_use_id"], id);
    assert_eq!(sent(false)["messages"], body["messages"], "a compatible server has its own ids");
}

#[test]
fn a_schema_goes_to_claude_in_the_part_of_json_schema_that_it_takes() {
    let age = json!({"type": "integer", "minimum": 0, "maximum": 150});
    let names =
        json!({"type": "array", "items": {"type": "string", "pattern": "^(?=x)"}, "minItems": 3, "uniqueItems": true});
    let schema = json!({"type": "object", "properties": {"age": age, "names": names}, "required": ["age", "names"]});
    let wanted = json!({
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": "{maximum: 150, minimum: 0}"},
            "names": {
                "type": "array",
                "items": {"type": "string", "description": "{pattern: ^(?=x)}"},
                "description": "{minItems: 3, uniqueItems: true}",
            },
        },
        "required": ["age", "names"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    let tool =
        |strict: bool| json!({"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}});
    let body = json!({
        "model": "m", "max_tokens": 5, "messages": [message("user", "hi")], "response_format": format,
        "tools": [tool(true), tool(false)],
    });
    let parsed = |text: &Value| -> Value { serde_json::from_str(text.as_str().expect("a text")).expect("JSON") };
    for kind in [ProviderKind::Anthropic, ProviderKind::Vertex] {
        let sent = to_claude(kind, &body).expect("taken");
        for fitted in [&sent["output_config"]["format"]["schema"], &sent["tools"][0]["input_schema"]] {
            assert_eq!(fitted, &wanted, "{kind:?}");
        }
        assert_eq!(sent["tools"][1]["input_schema"], schema, "a tool that is not strict may have any schema");
    }
    let sent = to_claude(ProviderKind::Bedrock, &body).expect("taken");
    let in_format = parsed(&sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]);
    for fitted in [&in_format, &sent["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]] {
        assert_eq!(fitted, &wanted);
    }
}

#[test]
fn what_fitting_adds_to_schemas_is_counted_on_every_surface() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}"#;
    let tool = |strict: bool| format!(r#"{{"name":"f","strict":{strict},"parameters":{schema}}}"#);
    let function = |strict: bool| format!(r#"{{"type":"function","function":{}}}"#, tool(strict));
    let of_claude = |strict: bool| format!(r#"{{"name":"f","strict":{strict},"input_schema":{schema}}}"#);
    let format =
        format!(r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#);
    let added = |surface, more: &str| {
        let cap = if surface == Surface::Anthropic { r#","max_tokens":5"# } else { "" };
        let body = format!(r#"{{{ASK}{cap},{more}}}"#);
        parse(surface, body).unwrap_or_else(|refusal| panic!("{more}: {}", refusal.message)).facts.added_tokens
    };
    // Three objects of the schema, and at most two around them.
    for (surface, more) in [
        (Surface::OpenAi, format.clone()),
        (Surface::Native, format),
        (Surface::OpenAi, format!(r#""tools":[{}]"#, function(true))),
        (Surface::OpenAi, format!(r#""functions":[{}]"#, tool(true))),
        (Surface::Native, format!(r#""tools":[{}]"#, tool(true))),
        (Surface::Anthropic, format!(r#""tools":[{}]"#, of_claude(true))),
        (Surface::Anthropic, format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#)),
    ] {
        assert!((3 * 24..=5 * 24).contains(&added(surface, &more)), "{surface:?} {more}");
    }
    for (surface, more) in [
        (Surface::OpenAi, format!(r#""tools":[{}]"#, function(false))),
        (Surface::Native, format!(r#""tools":[{}]"#, tool(false))),
        (Surface::Anthropic, format!(r#""tools":[{}]"#, of_claude(false))),
        (Surface::OpenAi, r#""response_format":{"type":"json_object"}"#.to_owned()),
    ] {
        assert_eq!(added(surface, &more), 0, "{surface:?} {more}");
    }
}

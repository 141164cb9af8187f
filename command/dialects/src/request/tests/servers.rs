//! Bodies written for the known servers of OpenAI's dialect.

use super::*;

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

/// OpenAI: "The 'metadata' parameter is only allowed when 'store' is enabled."
#[test]
fn openai_is_sent_metadata_only_with_store() {
    let tagged = r#","metadata":{"team":"red"}"#;
    for (server, more, is_sent) in [
        (Server::Openai, "", false),
        (Server::Openai, r#","store":false"#, false),
        (Server::Openai, r#","store":null"#, false),
        (Server::Openai, r#","store":true"#, true),
        (Server::Other, "", true),
        (Server::Vllm, r#","store":false"#, true),
    ] {
        let body = passed_on(server, &format!("{more}{tagged}")).expect("a body");
        assert_eq!(body.get("metadata").is_some(), is_sent, "{server} {more}");
        let request = openai(&format!("{more}{tagged}")).expect("a request");
        let written = request.upstream_bodies().body(ProviderKind::Openai, &for_server(server)).expect("a body");
        let ignored = (!is_sent).then(|| "metadata".to_owned());
        assert_eq!(written.ignored.in_words_of(Surface::OpenAi), ignored, "{server} {more}");
    }
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
    let short = CallIdRule::MISTRAL.fitted("call_1").into_owned();
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
    let short = CallIdRule::MISTRAL.fitted("call_1").into_owned();
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

/// Holds: admin.server
#[test]
fn only_googles_servers_are_sent_googles_signatures_of_calls() {
    let call = |extra: &str| {
        format!(r#"{{{extra}"id":"c12345678","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#)
    };
    let signature = r#""extra_content": {"google":{"thought_signature":"c2ln"}} , "#;
    let body = |extra: &str| {
        let calls = [call(extra), call("")].join(",");
        let last = r#"{"role":"user","content":"say \"extra_content\"","name":"extra_content"}"#;
        format!(r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{calls}]}},{last}]}}"#)
    };
    let (signed, unsigned) = (body(signature), body(""));
    let sent = |body: &str, target: &OutboundTarget<'_>, kind| {
        parse(Surface::OpenAi, body.to_owned()).ok().unwrap().upstream_body(kind, target).unwrap()
    };
    for server in Server::ALL.iter().copied().map(Some).chain([None]) {
        let target = OutboundTarget { server, ..target() };
        let sent = |body| sent(body, &target, ProviderKind::Openai);
        let is_sent = std::str::from_utf8(&sent(&signed)).unwrap().contains(signature);
        assert_eq!(is_sent, server == Some(Server::Gemini), "{server:?}");
        // The rest goes on byte for byte.
        assert_eq!(sent(&signed) == sent(&unsigned), !is_sent, "{server:?}: {:?}", sent(&signed));
    }
    let azure = |body| sent(body, &target(), ProviderKind::AzureOpenai);
    assert_eq!(azure(&signed), azure(&unsigned));
}

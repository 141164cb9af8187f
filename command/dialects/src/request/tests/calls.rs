//! Tool calls in the conversation, and their results.

use super::*;

/// Returns the bodies that Ollama and Gemini are sent for items of Responses.
fn sent(kind: ProviderKind, items: &[serde_json::Value]) -> serde_json::Value {
    let body = serde_json::json!({ "model": "m", "input": items }).to_string();
    let body = parse(Surface::Responses, body).ok().unwrap().upstream_body(kind, &target()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn call(id: &str, name: &str) -> serde_json::Value {
    serde_json::json!({ "type": "function_call", "call_id": id, "name": name, "arguments": "{}" })
}

fn result(id: &str, output: &str) -> serde_json::Value {
    serde_json::json!({ "type": "function_call_output", "call_id": id, "output": output })
}

#[test]
fn a_long_name_is_sent_with_its_result_too() {
    let name = "n".repeat(128);
    let sent = sent(ProviderKind::Ollama, &[call("c", &name), result("c", "x")]);
    assert_eq!(sent["messages"][1]["tool_name"], *name, "{sent}");
}

#[test]
fn results_have_the_names_and_the_order_of_their_calls_however_the_client_sends_them() {
    let calls = [call("a", "f"), call("b", "g"), call("c", "f")];
    let results = [result("c", "3"), result("a", "1"), result("b", "2")];
    let items = [calls.as_slice(), &results, &[call("a", "h"), result("a", "4")]].concat();
    let wanted =
        [("f", "1"), ("g", "2"), ("f", "3"), ("h", "4")].map(|(name, said)| (name.to_owned(), said.to_owned()));
    let pair = |name: &serde_json::Value, said: &serde_json::Value| {
        Some((name.as_str()?.to_owned(), said.as_str()?.to_owned()))
    };
    let ollama = sent(ProviderKind::Ollama, &items);
    let messages = ollama["messages"].as_array().unwrap().iter();
    let found: Vec<_> = messages.filter_map(|message| pair(&message["tool_name"], &message["content"])).collect();
    assert_eq!(found, wanted, "{ollama}");
    let gemini = sent(ProviderKind::Gemini, &items);
    let parts = gemini["contents"].as_array().unwrap().iter().flat_map(|turn| turn["parts"].as_array().unwrap());
    let results = parts.map(|part| &part["functionResponse"]);
    let found: Vec<_> = results.filter_map(|result| pair(&result["name"], &result["response"]["output"])).collect();
    assert_eq!(found, wanted, "{gemini}");
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
        assert!(sent.err().is_none_or(|refusal| refusal.details["field"] == "input"), "{items:.100}");
    }
}

#[test]
fn results_of_calls_with_one_id_go_to_their_calls() {
    let call =
        |name: &str| format!(r#"{{"id":"0","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#);
    let calls = format!(r#"{{"role":"assistant","tool_calls":[{},{}]}}"#, call("f"), call("g"));
    let result = |text: &str| format!(r#"{{"role":"tool","tool_call_id":"0","content":"{text}"}}"#);
    let ask = r#"{"role":"user","content":"x"}"#;
    let body = format!(r#"{{"model":"m","messages":[{ask},{calls},{},{}]}}"#, result("of f"), result("of g"));
    let request = parse(Surface::OpenAi, body).ok().unwrap();
    let sent = |kind, model| {
        let body = request.upstream_body(kind, &OutboundTarget { model, ..target() }).unwrap();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    let gemini = sent(ProviderKind::Gemini, "gemini-3-pro");
    for (at, name) in ["f", "g"].into_iter().enumerate() {
        let result = &gemini["contents"][2]["parts"][at]["functionResponse"];
        assert_eq!((&result["name"], &result["response"]["output"]), (&name.into(), &format!("of {name}").into()));
    }
    let ollama = sent(ProviderKind::Ollama, "q");
    for (at, name) in [(2, "f"), (3, "g")] {
        let result = &ollama["messages"][at];
        assert_eq!((&result["tool_name"], &result["content"]), (&name.into(), &format!("of {name}").into()));
    }
}

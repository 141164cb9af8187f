//! Tool calls in the conversation, and their results.

use super::*;

#[test]
fn a_long_name_is_not_repeated_with_its_result() {
    for (name, is_repeated) in [("n".repeat(34), true), ("n".repeat(35), false)] {
        let call = format!(r#"{{"type":"function_call","call_id":"c1","name":"{name}","arguments":"{{}}"}}"#);
        let result = r#"{"type":"function_call_output","call_id":"c1","output":"x"}"#;
        let body = format!(r#"{{"model":"m","input":[{call},{result}]}}"#);
        let sent =
            parse(Surface::Responses, body).ok().unwrap().upstream_body(ProviderKind::Ollama, &target()).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["messages"][1].get("tool_name").is_some(), is_repeated, "{sent}");
    }
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
    }
}

//! Input from an upstream costs memory and time in proportion to its bytes, whatever stands in them.

use std::time::{Duration, Instant};

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

const STREAM: &str = "text/event-stream";

/// A name that came once, and pieces of arguments that are each told with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_name_of_a_tool_is_not_repeated_on_every_piece_of_its_arguments() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said", "ok"]).await;
    let call = |call: serde_json::Value| {
        format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] }))
    };
    let first = call(json!({ "index": 0, "id": "call_1", "function": { "name": "n".repeat(64 * 1024) } }));
    let piece = call(json!({ "index": 0, "function": { "arguments": "1" } }));
    upstream.says(STREAM, first + &piece.repeat(3000) + "data: [DONE]\n\n");
    tenant.stream(NATIVE, "ok").await.rest().await;
    let before = gateway.resident_kib();
    let told = tenant.app.post(NATIVE, &tenant.ask_streamed("said")).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more for an answer of 300 KB");
    assert!(told.body.len() < 1024 * 1024, "{} bytes were told of 300 KB", told.body.len());
    told.must_be(502, "UPSTREAM_ERROR");
}

/// A name of the longest valid length is still told.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_256_characters_is_told() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    for (characters, is_told) in [(256, true), (257, false)] {
        let name = "é".repeat(characters);
        let call = json!({ "index": 0, "id": name, "function": { "name": name, "arguments": "{}" } });
        let chunk = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] }, "finish_reason": "stop" }] });
        upstream.says(STREAM, format!("data: {chunk}\n\ndata: [DONE]\n\n"));
        let told = tenant.app.post(NATIVE, &tenant.ask_streamed("said")).await;
        assert_eq!(told.status == 200, is_told, "{characters}: {}", String::from_utf8_lossy(&told.body));
        let whole = json!({ "choices": [{ "message": { "tool_calls": [call] }, "finish_reason": "stop" }] });
        upstream.says("application/json", whole.to_string());
        assert_eq!(tenant.chat("said").await.status == 200, is_told, "{characters}");
    }
    // In the same dialect answers are passed through as they are.
    let long = "é".repeat(257);
    let same_dialect = json!({ "choices": [{ "message": { "tool_calls": [{ "id": long }] } }] });
    upstream.says("application/json", same_dialect.to_string());
    tenant.openai("said").await.must(200);
}

/// A value of each of its numbers would take sixteen times the room of its text.
#[tokio::test(flavor = "multi_thread")]
async fn long_arguments_take_no_more_room_than_their_text() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said", "ok"]).await;
    tenant.chat("ok").await.must(200);
    let arguments = format!("[{}0]", "0,".repeat(6 * 1024 * 1024));
    let call = json!({ "id": "c", "function": { "name": "f", "arguments": arguments } });
    let answer = json!({ "choices": [{ "message": { "tool_calls": [call] }, "finish_reason": "tool_calls" }] });
    upstream.says("application/json", answer.to_string());
    let before = gateway.resident_kib();
    let told = tenant.chat("said").await.must(200);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(told.body.len() > arguments.len());
    assert!(grown < 120 * 1024, "{grown} KiB more for an answer of 12 MB");
}

/// Members of one name by the thousand, in chunks and in whole answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_many_members_takes_no_thread_for_seconds() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    let members = r#""usage":{},"#.repeat(80_000);
    let chunk = format!(r#"{{{members}"choices":[{{"delta":{{"content":"x"}},"finish_reason":"stop"}}]}}"#);
    let whole = chunk.replace("delta", "message");
    for path in [OPENAI, NATIVE] {
        for (content_type, body, streamed) in
            [(STREAM, format!("data: {chunk}\n\ndata: [DONE]\n\n"), true), ("application/json", whole.clone(), false)]
        {
            upstream.says(content_type, body);
            let mut ask = tenant.ask("said");
            ask["stream"] = json!(streamed);
            let started = Instant::now();
            let told = tenant.app.post(path, &ask).await;
            let taken = started.elapsed();
            assert!(taken < Duration::from_secs(4), "{path}: 900 KB took {taken:?}");
            assert_eq!(told.status, 502, "{path}");
        }
    }
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
}

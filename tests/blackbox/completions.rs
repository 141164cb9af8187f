//! OpenAI's legacy completions.

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant};

const COMPLETIONS: &str = "/v1/completions";

fn ask(tenant: &Tenant) -> Value {
    json!({ "model": tenant.model("ok"), "prompt": "Once upon a time", "max_tokens": 64 })
}

/// Holds: inf.completions, inf.frontend-name
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_whole_and_streamed() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind, ..Setup::default() }).await;
        for path in [COMPLETIONS, "/oai/v1/completions"] {
            let answer = tenant.app.post(path, &ask(&tenant)).await.must(200).json();
            assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &json!(tenant.model("ok"))));
            let choice = &answer["choices"][0];
            assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(TEXT), &json!("stop")), "{answer}");
            assert!(answer["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{answer}");
        }
        let mut body = ask(&tenant);
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let (chunks, _) = tenant.app.stream(COMPLETIONS, &body).await.expect("a stream").rest().await;
        let (done, chunks) = chunks.split_last().expect("chunks");
        let chunks: Vec<Value> = chunks.iter().map(crate::client::Sse::json).collect();
        assert!(done.is_done() && chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
        let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, TEXT);
        let last = chunks.last().expect("a chunk");
        assert_eq!((&last["choices"], last["usage"]["total_tokens"].is_u64()), (&json!([]), true), "{last}");
    }
    gateway.books().await;
}

/// Holds: inf.completions, http.openai-errors
#[tokio::test(flavor = "multi_thread")]
async fn what_a_chat_cannot_do_is_refused_by_its_name() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (name, value) in [
        ("suffix", json!("end")),
        ("echo", json!(true)),
        ("logprobs", json!(2)),
        ("best_of", json!(2)),
        ("prompt", json!(["a", "b"])),
        ("prompt", json!([464, 2068])),
        ("no_such_field", json!(1)),
    ] {
        let mut body = ask(&tenant);
        body[name] = value;
        let error = tenant.app.post(COMPLETIONS, &body).await.must(400).json()["error"].clone();
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(name)), "{error}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

//! A model that the catalogue knows to be for embeddings does not chat, and the other way round.

use serde_json::json;
use testing::upstream::MockUpstream;

use super::{KEY, automatic, chat, start_in};
use crate::families::key;
use crate::tenant::{NATIVE, OPENAI, made};

const EMBEDDINGS: &str = "/v1/embeddings";

/// Holds: inf.model-for-another-api
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_for_another_api_is_refused_with_the_endpoint_to_use() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let app = gateway.client(Some(&key(&gateway).await));
    let head = gateway.head().await;
    let embeddings = "text-embedding-3-small is a model for embeddings, which does not chat: use POST /v1/embeddings";
    let chats = "gpt-4o-mini is a model for chat, which makes no embeddings: use POST /v1/chat/completions";
    for capped in [false, true] {
        let mut ask = chat("text-embedding-3-small");
        if capped {
            ask["max_tokens"] = json!(5);
        }
        let refused = app.post(OPENAI, &ask).await.must(400).json()["error"].clone();
        assert_eq!(
            (&refused["message"], &refused["type"]),
            (&json!(format!("model: {embeddings}")), &json!("invalid_request_error"))
        );
        assert_eq!(refused["param"], "model");
    }
    let native = app.post(NATIVE, &chat("text-embedding-3-small")).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(native["error"]["details"], json!({ "field": "model", "reason": embeddings }));
    let ask = json!({ "model": "gpt-4o-mini", "input": "hello" });
    let refused = app.post(EMBEDDINGS, &ask).await.must(400).json()["error"].clone();
    assert_eq!((&refused["message"], &refused["param"]), (&json!(format!("model: {chats}")), &json!("model")));
    assert_eq!((gateway.head().await, upstream.seen().len()), (head, 0), "nothing is held or sent");

    app.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    app.post(EMBEDDINGS, &json!({ "model": "text-embedding-3-small", "input": "hello" })).await.must(200);
    // A model with a target of each kind serves both.
    let providers = automatic(&gateway, "providers").await;
    let openai = providers.iter().find(|provider| provider["name"] == "openai").expect("the provider");
    let target =
        |model: &str| json!({ "provider_id": openai["id"], "model": model, "default_max_output_tokens": null });
    let both = json!({ "name": "both", "targets": [target("text-embedding-3-small"), target("gpt-4o-mini")] });
    made(gateway.operator(), "/models", both).await;
    let mut ask = chat("both");
    ask["max_tokens"] = json!(5);
    app.post(OPENAI, &ask).await.must(200);
    app.post(EMBEDDINGS, &json!({ "model": "both", "input": "hello" })).await.must(200);
}

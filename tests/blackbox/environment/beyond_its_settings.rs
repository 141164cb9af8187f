//! Settings that a provider from the environment cannot have, and where the messages send an operator who wants
//! them.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::{KEY, automatic, chat, start_in};
use crate::tenant::{OPENAI, made, text};

const OWN_PROVIDER: &str = "add a provider of your own: POST /v1/admin/providers";

/// Holds: environment.fixed, event.unpriced
#[tokio::test(flavor = "multi_thread")]
async fn messages_about_a_provider_from_the_environment_name_what_can_be_done() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let operator = gateway.operator();
    let provider = automatic(&gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = text(&provider.expect("the provider")["id"]);
    let message = |reply: crate::client::Reply| text(&reply.json()["error"]["message"]);

    let changed = operator.patch(&format!("/v1/admin/providers/{provider}"), &json!({ "timeout_ms": 9000 })).await;
    let said = message(changed.must_be(409, "CONFLICT"));
    assert!(said.contains("OPENAI_API_KEY") && said.contains(OWN_PROVIDER), "{said}");
    let key = json!({ "provider_id": provider, "name": "second", "api_key": "sk-2" });
    let said = message(operator.post("/v1/admin/provider-keys", &key).await.must_be(409, "CONFLICT"));
    assert!(said.contains("to use several, ") && said.contains(OWN_PROVIDER) && !said.contains("unset"), "{said}");

    let with = |field: &str, value: Value| {
        let mut body = chat("gpt-4o-mini");
        body[field] = value;
        body
    };
    let said = message(operator.post(OPENAI, &with("web_search_options", json!({}))).await.must(422));
    assert!(said.contains("add a provider of your own with web_search_options in its allowed_fields"), "{said}");
    // gpt-4o-mini has no such tier, whose price can be given.
    let flex = with("service_tier", json!("flex"));
    let said = message(operator.post(OPENAI, &flex).await.must(422));
    assert!(said.contains("the price has no tier flex: create a price of your own"), "{said}");
    assert!(!said.contains("allowed_fields"), "{said}");
    let tier = json!({ "service_tier": "flex", "input_usd_per_mtok": "0.5" });
    let price = json!({ "provider_id": provider, "model": "gpt-4o-mini", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2",
                        "tiers": [tier] });
    made(operator, "/prices", price).await;
    operator.post(OPENAI, &flex).await.must(200);
}

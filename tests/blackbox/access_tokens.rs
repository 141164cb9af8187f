//! Vertex AI: the key of a service account is exchanged for access tokens, and failures of that reach no client as they are.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use testing::upstream::google::{REDIRECTING_PATH, REFUSAL, REFUSING_PATH, STALE_PATH, TOKEN, TOKEN_PATH};
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

const KEY_OF_NOBODY: &str = include_str!("../../command/src/service_account/key_of_nobody.json");

/// A provider whose key is exchanged at this path of the mock, with a priced model.
async fn provider(gateway: &Gateway, upstream: &MockUpstream, name: &str, token_path: &str) -> String {
    let mut key: Value = serde_json::from_str(KEY_OF_NOBODY).expect("a key");
    key["token_uri"] = json!(upstream.origin() + token_path);
    let key = serde_json::to_string_pretty(&key).expect("a text");
    let base_url = upstream.origin() + "/v1/projects/p/locations/l";
    let provider =
        json!({ "name": name, "kind": "vertex", "base_url": base_url, "api_key": key, "allow_private_network": true });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price = json!({ "provider_id": provider, "model": "gemini-x", "input_usd_per_mtok": "3",
                        "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    provider
}

async fn add_model(gateway: &Gateway, tenant: &Tenant, name: &str, providers: &[&str]) {
    let target = |(rank, provider): (usize, &&str)| json!({ "provider_id": provider, "model": "gemini-x", "priority": rank, "default_max_output_tokens": 64 });
    let targets: Vec<Value> = providers.iter().enumerate().map(target).collect();
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
}

fn called(upstream: &MockUpstream, path: &str) -> usize {
    upstream.seen().iter().filter(|seen| seen.path == path).count()
}

/// Holds: inf.access-tokens
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_for_many_requests_and_one_that_is_refused_leaves_them_to_the_next_target() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let good = provider(&gateway, &upstream, "good", TOKEN_PATH).await;
    let bad = provider(&gateway, &upstream, "bad", REFUSING_PATH).await;
    add_model(&gateway, &tenant, "good", &[&good]).await;
    add_model(&gateway, &tenant, "bad", &[&bad]).await;
    add_model(&gateway, &tenant, "both", &[&bad, &good]).await;
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let (app, body) = (tenant.app.clone(), tenant.ask("good"));
        asked.spawn(async move { app.post(NATIVE, &body).await });
    }
    for reply in asked.join_all().await {
        let reply = reply.must(200).json();
        assert_eq!((&reply["usage"]["input_uncached_tokens"], &reply["finish_reason"]), (&json!(12), &json!("stop")));
    }
    assert_eq!(called(&upstream, TOKEN_PATH), 1);
    tenant.openai("both").await.must(200);
    assert!(called(&upstream, REFUSING_PATH) >= 1);
    for path in [NATIVE, OPENAI] {
        let refused = tenant.app.post(path, &tenant.ask("bad")).await;
        let text = refused.must(502).json().to_string();
        assert!(text.contains("api_key"), "{text}");
        for secret in [REFUSAL, "PRIVATE KEY", TOKEN, "nobody@"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    gateway.books().await;
    gateway.stop();
    let said = gateway.stdout() + &gateway.stderr();
    for secret in [TOKEN, "PRIVATE KEY", "assertion="] {
        assert!(!said.contains(secret), "{said}");
    }
}

/// Holds: inf.access-tokens
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_refused_by_those_who_read_it_and_not_by_a_redirect() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    for (path, said) in [(REFUSING_PATH, "API key was refused"), (REDIRECTING_PATH, "check the token_uri")] {
        let name = path.trim_matches('/').replace('/', "-");
        let provider = provider(&gateway, &upstream, &name, path).await;
        add_model(&gateway, &tenant, &name, &[&provider]).await;
        let failed = tenant.app.post(NATIVE, &tenant.ask(&name)).await.must(502).json().to_string();
        assert!(failed.contains(said), "{path}: {failed}");
    }
}

/// Holds: inf.access-tokens
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_provider_refuses_is_not_used_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let stale = provider(&gateway, &upstream, "stale", STALE_PATH).await;
    add_model(&gateway, &tenant, "stale", &[&stale]).await;
    tenant.openai("stale").await.must(502);
    tenant.openai("stale").await.must(200);
    tenant.openai("stale").await.must(200);
    assert_eq!(called(&upstream, STALE_PATH), 2);
    gateway.books().await;
}

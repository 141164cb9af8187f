//! The digest of what decided a route: whoever has the request proves what the gateway saw of it.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::content::{content, salted};
use crate::fitting_targets::{STRATEGIES, tenant};
use crate::gateway::Gateway;
use crate::tenant::{OPENAI, Tenant, made};

/// Holds: query.features-digest
#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_what_decided_a_route_is_recorded_by_every_strategy_and_can_be_computed() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    let target =
        |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
    // The names are equally long, so that the estimate of the prompt is the same.
    let mut events = Vec::new();
    for (at, strategy) in STRATEGIES.into_iter().chain(["rules"]).enumerate() {
        let name = tenant.model(&format!("model-{at}"));
        let rules = if strategy == "rules" { json!([{ "when": "tools", "strategy": "cost" }]) } else { json!([]) };
        let targets = [target("ok"), target("slow-1")];
        made(
            gateway.operator(),
            "/models",
            json!({ "name": name, "strategy": strategy, "targets": targets, "rules": rules }),
        )
        .await;
        let tools = json!([{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }]);
        let body = json!({ "model": name, "max_tokens": 16, "stream": true, "tools": tools,
                           "messages": [{ "role": "user", "content": "hello" }] });
        let reply = tenant.app.post(OPENAI, &body).await.must(200);
        let admitted = gateway.life(&reply.request_id()).await[0]["data"].clone();
        let salt = content(&gateway, &reader, &reply.request_id()).await["salt"].clone();
        events.push((strategy, admitted, salt));
    }
    let (_, by_rules, _) = events.last().expect("the rules");
    let features = by_rules["route"]["features"].clone();
    for (strategy, admitted, salt) in &events {
        let features_of = if *strategy == "rules" { format!(r#""features":{features},"#) } else { String::new() };
        let input_tokens = &features["input_tokens"];
        let seen = format!(
            r#"{{"abilities":["text","tools","streaming","chat"],{features_of}"input_tokens":{input_tokens},"output_cap":16}}"#
        );
        let digest = admitted["route"]["features_digest"].as_str().expect("a digest");
        assert_eq!(salted(salt, &seen)[..32], *digest, "{strategy}: {seen}");
    }
}

/// Holds: query.features-digest
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_it_is_recorded_where_nothing_is_kept() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    gateway.operator().patch(&path, &json!({ "content_policy": "none" })).await.must(200);
    let target =
        |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
    for strategy in ["priority", "cost"] {
        let name = tenant.model(strategy);
        let targets = [target("ok"), target("slow-1")];
        made(gateway.operator(), "/models", json!({ "name": name, "strategy": strategy, "targets": targets })).await;
        let body = json!({ "model": name, "messages": [{ "role": "user", "content": "hello" }] });
        let reply = tenant.app.post(OPENAI, &body).await.must(200);
        let route = gateway.life(&reply.request_id()).await[0]["data"]["route"].clone();
        assert_eq!((route.is_object(), &route["features_digest"]), (strategy == "cost", &Value::Null), "{route}");
    }
}

/// Holds: query.features-digest
#[tokio::test(flavor = "multi_thread")]
async fn what_decided_a_failed_request_can_be_proved_as_well() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500"]).await;
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    let body = json!({ "model": tenant.model("e500"), "n": 2, "messages": [{ "role": "user", "content": "hello" }] });
    let request = tenant.app.post(OPENAI, &body).await.must(502).request_id();
    let kept = content(&gateway, &reader, &request).await;
    assert!(kept["answer_digest"].is_null(), "{kept}");
    let digest = gateway.life(&request).await[0]["data"]["route"]["features_digest"].clone();
    // A quarter of the body's bytes, and 32.
    let input_tokens = body.to_string().len().div_ceil(4)..=body.to_string().len().div_ceil(4) + 34;
    let seen = |tokens: usize| format!(r#"{{"abilities":["text","n","chat"],"choices":2,"input_tokens":{tokens}}}"#);
    let is_it = |tokens| salted(&kept["salt"], &seen(tokens))[..32] == *digest.as_str().expect("a digest");
    assert_eq!(input_tokens.filter(|tokens| is_it(*tokens)).count(), 1, "{digest}");
}

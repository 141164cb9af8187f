//! `GET /v1/me`: a key's view of itself.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made};

/// Holds: inf.me
#[tokio::test(flavor = "multi_thread")]
async fn a_key_learns_who_it_is_what_it_may_use_and_what_is_left() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1"]).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 10 });
    let limit = made(gateway.operator(), "/rate-limits", limit).await;
    let expires_at = "2100-01-01T00:00:00.000000Z";
    let fields = json!({ "models": [format!("{}/o*", tenant.name)], "expires_at": expires_at });
    let (id, key) = tenant.new_key(&gateway, fields).await;
    let answered = key.post("/v1/chat/completions", &tenant.ask("ok")).await.must(200);
    let cost = answered.headers["x-ledgerway-cost-usd"].to_str().expect("an amount").to_owned();

    let me = key.get(&format!("/v1/me?min_position={}", answered.position())).await.must(200).json();
    assert_eq!((me["actor"].as_str(), me["key"]["id"].as_str()), (Some(&*id), Some(&*id)));
    assert_eq!(
        (me["tenant"]["id"].as_str(), me["partner"]["id"].as_str()),
        (Some(&*tenant.id), Some(&*tenant.partner))
    );
    assert_eq!(me["user_id"], json!(tenant.user));
    assert_eq!(me["permissions"], json!(["models:use"]));
    assert_eq!(me["scope"], json!({ "tenant_id": tenant.id }));
    assert_eq!(me["models"], json!([tenant.model("ok")]));
    assert_eq!(me["expires_at"], expires_at);
    let target = json!({ "provider_id": tenant.provider, "model": "without-a-price" });
    let name = format!("{}/o-without-a-price", tenant.name);
    made(gateway.operator(), "/models", json!({ "name": name, "targets": [target] })).await;
    let models = key.get("/v1/me").await.must(200).json()["models"].clone();
    assert_eq!(models, json!([tenant.model("ok")]), "what nobody serves at a price cannot be used");
    let left = &me["limits"][0];
    assert_eq!((&left["limit_id"], &left["measure"]), (&json!(limit), &json!("requests_per_minute")));
    assert_eq!((&left["limit"], &left["remaining"]), (&json!(10), &json!(9)));
    let budget = &me["budgets"][0];
    assert_eq!((&budget["id"], &budget["settled_usd"]), (&json!(tenant.budget), &json!(cost)));
    assert_eq!(budget["scope_name"], json!(tenant.name));
    assert_eq!(me["budgets"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_who_one_is_counts_nothing_and_shows_nobody_else() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::with(&gateway, &upstream, &["ok"], Setup::default()).await;
    let scope = json!({ "scope": { "key_id": tenant.key }, "requests_per_minute": 1 });
    made(gateway.operator(), "/rate-limits", scope).await;
    for _ in 0..3 {
        let said = tenant.app.get("/v1/me").await.must(200);
        assert_eq!(said.json()["limits"][0]["remaining"], 1);
        let text = String::from_utf8_lossy(&said.body).into_owned();
        for foreign in [&other.id, &other.partner, &other.user, &other.budget, &other.key] {
            assert!(!text.contains(&**foreign), "{foreign} in {text}");
        }
    }
    let operator = gateway.operator().get("/v1/me").await.must(200).json();
    assert_eq!((&operator["actor"], &operator["scope"]), (&json!("operator"), &json!("platform")));
    let chosen = gateway.operator().clone().with("x-tenant-id", &tenant.id).get("/v1/me").await.must(200).json();
    assert_eq!((&chosen["tenant"]["id"], &chosen["budgets"][0]["id"]), (&json!(tenant.id), &json!(tenant.budget)));
    gateway.client(None).get("/v1/me").await.must(401);
    tenant.app.get("/v1/me?colour=red").await.must_be(400, "INVALID_REQUEST");
}

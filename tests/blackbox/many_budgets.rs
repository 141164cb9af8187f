//! More budgets, or rate limits, than may bind one request.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant, made};

/// The names of metadata, and how many there are narrowed to each: together more than 64.
const NAMES: [&str; 3] = ["one", "two", "three"];
const OF_NAME: usize = 22;

async fn narrow_to_each(gateway: &Gateway, tenant: &Tenant, path: &str, fields: &Value) {
    for name in NAMES {
        let mut body = fields.clone();
        body["scope"] = json!({ "tenant_id": tenant.id });
        body["scope"][format!("metadata.{name}")] = json!("x");
        for _ in 0..OF_NAME {
            made(gateway.operator(), path, body.clone()).await;
        }
    }
}

fn with_metadata(tenant: &Tenant, names: &[&str]) -> Value {
    let mut body = tenant.ask("ok");
    let metadata: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
    body["metadata"] = Value::Object(metadata);
    body
}

/// Holds: admin.binding-max
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_more_than_64_budgets_bind_is_refused_and_says_so() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    narrow_to_each(&gateway, &tenant, "/budgets", &json!({ "limit_usd": "5", "period": "day" })).await;
    let refused = tenant.app.post(NATIVE, &with_metadata(&tenant, &NAMES)).await.must_be(400, "INVALID_REQUEST");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("more than 64 budgets bind this request"), "{message}");
    assert!(upstream.seen().is_empty(), "a refused request was sent");
    let events = gateway.life(&refused.request_id()).await;
    assert_eq!((events.len(), &events[0]["data"]["code"]), (1, &json!("INVALID_REQUEST")), "{events:?}");
    // With less metadata, 45 bind it.
    tenant.app.post(NATIVE, &with_metadata(&tenant, &NAMES[..2])).await.must(200);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: admin.binding-max
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_more_than_64_rate_limits_bind_is_refused_and_says_so() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    narrow_to_each(&gateway, &tenant, "/rate-limits", &json!({ "requests_per_day": 1 })).await;
    let refused = tenant.app.post(NATIVE, &with_metadata(&tenant, &NAMES)).await.must_be(400, "INVALID_REQUEST");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("more than 64 rate limits bind this request"), "{message}");
    assert!(upstream.seen().is_empty(), "a refused request was sent");
    // It counts against none of them.
    tenant.app.post(NATIVE, &with_metadata(&tenant, &NAMES[..2])).await.must(200);
}

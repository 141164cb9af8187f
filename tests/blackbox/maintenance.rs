//! Maintenance windows: when providers and targets are not called, and what the log says of that.

use std::time::Duration;

use chrono::TimeDelta;
use events::time::{Clock, SystemClock, rfc3339};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::time::{Instant, sleep};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made, text};

/// A window from and to so many seconds from now.
fn window(from: i64, to: i64) -> Value {
    let now = SystemClock::new().now();
    let at = |seconds| rfc3339(now + TimeDelta::seconds(seconds));
    json!({ "from": at(from), "to": at(to) })
}

struct Planned<'a> {
    gateway: &'a Gateway,
    tenant: &'a Tenant,
    provider: String,
}

impl<'a> Planned<'a> {
    /// A provider that can be put under maintenance, besides the tenant's.
    async fn new(gateway: &'a Gateway, tenant: &'a Tenant, upstream: &MockUpstream) -> Self {
        let provider = json!({
            "name": format!("{}-planned", tenant.name), "kind": "openai", "base_url": upstream.base_url("openai"),
            "api_key": "k", "allow_private_network": true,
        });
        let provider = made(gateway.operator(), "/providers", provider).await;
        let price =
            json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
        made(gateway.operator(), "/prices", price).await;
        Self { gateway, tenant, provider }
    }

    /// A model that tries the provider's target first, with these windows, and then the tenant's, if there is to be another.
    async fn model(&self, name: &str, windows: Value, has_another: bool) -> String {
        let first = json!({ "provider_id": self.provider, "model": "ok", "maintenance": windows,
                            "default_max_output_tokens": 64 });
        let other = json!({ "provider_id": self.tenant.provider, "model": "ok", "priority": 1,
                            "default_max_output_tokens": 64 });
        let targets: Vec<Value> = [first].into_iter().chain(has_another.then_some(other)).collect();
        made(self.gateway.operator(), "/models", json!({ "name": self.tenant.model(name), "targets": targets })).await
    }

    async fn plan(&self, windows: Value) {
        let path = format!("/v1/admin/providers/{}", self.provider);
        self.gateway.operator().patch(&path, &json!({ "maintenance": windows })).await.must(200);
    }

    /// Returns the explanation of a request's route.
    async fn route(&self, reply: &Reply) -> Value {
        let path = format!("/v1/inferences/{}/explain", reply.request_id());
        let explained = self.gateway.operator().get(&path).await.must(200).json();
        assert_eq!(explained["follows"], true, "{explained}");
        explained["route"].clone()
    }
}

fn backend(reply: &Reply, planned: &Planned<'_>) -> bool {
    reply.header("x-ledgerway-backend") == format!("{}-planned/ok", planned.tenant.name)
}

/// Holds: admin.maintenance
#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_called_during_a_window_of_its_own_or_of_its_provider() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let planned = Planned::new(&gateway, &tenant, &upstream).await;
    planned.model("of-target", json!([window(-60, 3000)]), true).await;
    let reply = tenant.chat("of-target").await.must(200);
    assert!(!backend(&reply, &planned));
    let route = planned.route(&reply).await;
    assert_eq!(
        (&route["targets"][1]["left_out"], &route["targets"][1]["rank"]),
        (&json!("maintenance"), &Value::Null),
        "{route}"
    );

    let id = planned.model("of-provider", json!([]), true).await;
    assert!(backend(&tenant.chat("of-provider").await.must(200), &planned), "nothing is planned");
    // One is over, one has not begun.
    planned.plan(json!([window(-90, -60), window(600, 700)])).await;
    let reply = tenant.chat("of-provider").await.must(200);
    assert!(backend(&reply, &planned), "no window is in force");
    planned.route(&reply).await;
    planned.plan(json!([window(-60, 1500), window(1400, 3000)])).await;
    let reply = tenant.chat("of-provider").await.must(200);
    assert!(!backend(&reply, &planned));
    assert_eq!(planned.route(&reply).await["targets"][1]["left_out"], "maintenance");

    let asked = json!({ "request": { "messages": [{ "role": "user", "content": "hello" }] } });
    let path = format!("/v1/admin/models/{id}/explain");
    let explained = gateway.operator().post(&path, &asked).await.must(200).json();
    let of = |at: usize| (&explained["targets"][at]["rank"], &explained["targets"][at]["left_out"]);
    assert_eq!(of(0), (&json!(1), &Value::Null), "{explained}");
    assert_eq!(of(1), (&Value::Null, &json!("maintenance")), "{explained}");
    assert!(text(&explained["in_words"]).contains("under maintenance until"), "{explained}");
    let operator = gateway.operator();
    let health = |provider: &str| {
        let path = format!("/v1/admin/providers/{provider}/health");
        async move { operator.get(&path).await.must(200).json() }
    };
    let provider = gateway.operator().get(&format!("/v1/admin/providers/{}", planned.provider)).await.must(200).json();
    // Windows without a gap end together.
    assert_eq!(health(&planned.provider).await["maintenance_until"], provider["maintenance"][1]["to"]);
    assert_eq!(health(&tenant.provider).await["maintenance_until"], Value::Null);
}

/// Nobody calls what is under maintenance, even if nothing else is left: clients are told when it is over.
/// Holds: admin.maintenance
#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_targets_are_all_under_maintenance_says_when_it_is_back() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let planned = Planned::new(&gateway, &tenant, &upstream).await;
    let long = window(-60, 3000);
    planned.model("alone", json!([long]), false).await;
    let refused = tenant.chat("alone").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((2900..=3000).contains(&wait), "{wait}");
    assert_eq!(refused.json()["error"]["details"]["maintenance_until"], long["to"]);
    let listed = tenant.app.get("/v1/models").await.must(200).json();
    let is_listed = |item: &Value| item["id"] == tenant.model("alone");
    assert!(listed["data"].as_array().expect("models").iter().any(is_listed), "{listed}");
    assert_eq!(upstream.seen().len(), 0);

    let short = window(-60, 3);
    planned.model("short", json!([short]), false).await;
    tenant.chat("short").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    let began = Instant::now();
    loop {
        let reply = tenant.chat("short").await;
        if reply.status == 200 {
            planned.route(&reply).await;
            break;
        }
        reply.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
        assert!(began.elapsed() < Duration::from_secs(30), "the window does not end");
        sleep(Duration::from_millis(200)).await;
    }
    assert!(SystemClock::new().now() >= events::time::parse_rfc3339(&text(&short["to"])).expect("a time"));
}

/// Holds: admin.maintenance
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_makes_no_sense_is_refused_with_its_place() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/providers/{}", tenant.provider);
    let good = window(60, 120);
    let at = |from: &str, to: &str| json!({ "from": from, "to": to });
    for (windows, field) in [
        (json!([good, at("2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z")]), "maintenance[1].to"),
        (json!([at("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z")]), "maintenance[0].to"),
        (json!([at("tomorrow", "2027-01-01T00:00:00Z")]), "maintenance[0].from"),
        (json!([{ "from": "2027-01-01T00:00:00Z" }]), "maintenance[0].to"),
        (json!([{ "from": good["from"], "to": good["to"], "why": "" }]), "maintenance[0].why"),
        (json!(vec![good.clone(); 33]), "maintenance"),
        (json!(good), "maintenance"),
    ] {
        let body = json!({ "maintenance": windows });
        let refused = gateway.operator().patch(&path, &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
        let target = json!({ "provider_id": tenant.provider, "model": "ok", "maintenance": windows });
        let model = json!({ "name": tenant.model("refused"), "targets": [target] });
        let refused = gateway.operator().post("/v1/admin/models", &model).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], format!("targets[0].{field}"), "{refused}");
    }
    let changed = gateway.operator().patch(&path, &json!({ "maintenance": vec![good; 32] })).await.must(200).json();
    assert_eq!(changed["maintenance"].as_array().map(Vec::len), Some(32));
}

/// Holds: admin.maintenance
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_not_counted_at_what_is_under_maintenance() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { kind: "anthropic", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["said"], setup).await;
    upstream.says("application/json", r#"{"input_tokens":1717}"#);
    let mut body = tenant.ask("said");
    body["max_tokens"] = json!(16);
    let count =
        async || tenant.app.post("/v1/messages/count_tokens", &body).await.must(200).json()["input_tokens"].clone();
    assert_eq!(count().await, 1717);
    let path = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&path, &json!({ "maintenance": [window(-60, 3000)] })).await.must(200);
    let estimate = count().await;
    assert!(estimate.as_u64().is_some_and(|tokens| (1..100).contains(&tokens)), "{estimate}");
    assert_eq!(upstream.seen().len(), 1);
}

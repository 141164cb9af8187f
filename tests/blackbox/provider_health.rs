//! The health of a provider: what a node has measured of it, the reset, and the checks of this one provider.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, PROVIDER_SECRET, Tenant, made};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

async fn health(client: &Client, provider: &str) -> Value {
    client.get(&format!("/v1/admin/providers/{provider}/health")).await.must(200).json()
}

async fn reset(client: &Client, provider: &str) -> Value {
    client.post(&format!("/v1/admin/providers/{provider}/health/reset"), &json!({})).await.must(200).json()
}

/// One model of the report.
fn model<'a>(health: &'a Value, name: &str) -> &'a Value {
    let models = health["models"].as_array().expect("models");
    models.iter().find(|model| model["model"] == name).unwrap_or_else(|| panic!("{name}: {health}"))
}

fn at(times: &Value, percentile: &str) -> u64 {
    times[percentile].as_u64().unwrap_or_else(|| panic!("{percentile}: {times}"))
}

/// A client that administers the tenant alone.
async fn administrator(gateway: &Gateway, tenant: &Tenant) -> Client {
    let user = json!({ "tenant_id": tenant.id, "name": "admin", "roles": ["tenant_admin"] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access"] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    gateway.client(key["secret"].as_str())
}

async fn breaker_events(gateway: &Gateway) -> Vec<Value> {
    let mut events = gateway.events().await;
    events.retain(|event| type_of(event).starts_with("provider.breaker_"));
    events
}

/// How many lines of the log say so.
fn said(gateway: &Gateway, message: &str) -> usize {
    gateway.stderr().lines().filter(|line| line.contains(message)).count()
}

/// Holds: admin.provider-health
#[tokio::test(flavor = "multi_thread")]
async fn calls_their_times_and_the_limits_of_a_provider_are_measured() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-400", "reject-400", "e500"]).await;
    let operator = gateway.operator();
    let before = health(operator, &tenant.provider).await;
    assert_eq!((&before["state"], &before["models"]), (&json!("unknown"), &json!([])));
    assert_eq!((&before["calls"], &before["failed_per_thousand"]), (&json!(0), &Value::Null));
    let limits = [
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-limit-tokens", "-1"),
        ("x-ratelimit-remaining-tokens", "99999999999999999999"),
        ("retry-after", "<script>"),
    ];
    upstream.accepts_key(PROVIDER_SECRET, &limits);
    for _ in 0..9 {
        tenant.chat("ok").await.must(200);
    }
    let (events, is_whole) = tenant.stream(NATIVE, "ok").await.rest().await;
    assert!(is_whole, "{events:?}");
    for _ in 0..2 {
        tenant.chat("slow-400").await.must(200);
    }
    tenant.chat("reject-400").await.must_be(400, "UPSTREAM_REJECTED");
    let healthy = health(operator, &tenant.provider).await;
    assert_eq!((&healthy["state"], &healthy["failing"]), (&json!("healthy"), &Value::Null), "{healthy}");
    assert_eq!((&healthy["calls"], &healthy["failed"]), (&json!(13), &json!(0)), "{healthy}");
    assert_eq!((&healthy["provider_id"], &healthy["name"]), (&json!(tenant.provider), &json!(tenant.name)));
    let (ok, slow) = (model(&healthy, "ok"), model(&healthy, "slow-400"));
    let closed =
        json!({ "state": "closed", "until": null, "since": null, "failures": null, "reason": null, "status": null });
    assert_eq!((&ok["calls"], &ok["failed_per_thousand"], &ok["breaker"]), (&json!(10), &json!(0), &closed));
    for name in ["first_byte_ms", "latency_ms"] {
        assert!(at(&ok[name], "p50") <= at(&ok[name], "p95") && at(&ok[name], "p95") <= at(&ok[name], "p99"), "{ok}");
        assert!((400..20_000).contains(&at(&slow[name], "p50")), "{slow}");
    }
    assert!(at(&ok["first_byte_ms"], "p50") <= at(&ok["latency_ms"], "p99"), "{ok}");
    assert!(at(&ok["first_byte_ms"], "p50") < 400, "{ok}");
    let mut learned = ok["limits"].clone();
    assert!(learned[0]["seen_at"].take().is_string(), "{ok}");
    assert_eq!(learned, json!([{ "of": "requests", "limit": 10_000, "remaining": 9_999, "seen_at": null }]));
    assert_eq!((&ok["errors"], &ok["retry_after"]), (&json!([]), &Value::Null));
    let rejected = model(&healthy, "reject-400");
    assert_eq!((&rejected["calls"], &rejected["failed"]), (&json!(1), &json!(0)), "it is the client's mistake");

    // Two calls of fifteen fail.
    tenant.chat("e500").await.must(502);
    let degraded = health(operator, &tenant.provider).await;
    assert_eq!((&degraded["state"], &degraded["failed_per_thousand"]), (&json!("degraded"), &json!(134)), "{degraded}");
    let failing = model(&degraded, "e500");
    assert_eq!(
        (&failing["calls"], &failing["failed"], &failing["first_byte_ms"]),
        (&json!(2), &json!(2), &Value::Null)
    );
    let error = &failing["errors"][0];
    assert_eq!((&error["reason"], &error["status"], &error["count"]), (&json!("status"), &json!(500), &json!(2)));
    assert_eq!(degraded["models"][0]["model"], "e500", "those that fail come first");
    assert!(!degraded.to_string().contains("boom"), "the provider's words are not shown");
    let forgotten = reset(operator, &tenant.provider).await;
    assert_eq!((&forgotten["closed_breakers"], &forgotten["health"]["state"]), (&json!([]), &json!("unknown")));
}

/// Holds: admin.provider-health
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_is_said_once_and_a_reset_closes_its_breaker_on_the_record() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "600")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-0"]).await;
    let provider = tenant.provider.clone();
    // So long that nobody waits for another try: each request is one call.
    upstream.refuses_key(PROVIDER_SECRET, 503, "{}", &[("retry-after", "7")]);
    for _ in 0..20 {
        tenant.chat("ok").await.must(502);
        tenant.chat("slow-0").await.must(502);
    }
    let began = Instant::now();
    while breaker_events(&gateway).await.len() < 2 {
        assert!(began.elapsed() < SOON);
        sleep(Duration::from_millis(20)).await;
    }
    let down = health(gateway.operator(), &provider).await;
    assert_eq!(
        (&down["state"], &down["calls"], &down["failed_per_thousand"]),
        (&json!("down"), &json!(40), &json!(1000))
    );
    assert_eq!(down["failing"]["calls"], 40);
    let failing = model(&down, "ok");
    let breaker = &failing["breaker"];
    assert_eq!(
        (&breaker["state"], &breaker["reason"], &breaker["status"]),
        (&json!("open"), &json!("status"), &json!(503))
    );
    assert!(breaker["since"].is_string() && breaker["until"].as_str() > breaker["since"].as_str(), "{breaker}");
    let opened = &breaker_events(&gateway).await[0];
    assert_eq!(breaker["failures"], opened["data"]["failures"]);
    assert_eq!((&failing["errors"][0]["count"], &failing["retry_after"]["seconds"]), (&json!(20), &json!(7)));
    // Of eighty failed calls, the first ones have a line each, and all together have one.
    assert_eq!(said(&gateway, "a provider fails: none of its last calls was served"), 1, "{}", gateway.stderr());
    assert_eq!(said(&gateway, "a call to an upstream failed"), 5, "{}", gateway.stderr());

    upstream.accepts_key(PROVIDER_SECRET, &[]);
    for _ in 0..3 {
        tenant.chat("ok").await.must(200);
    }
    assert_eq!(said(&gateway, "a provider answers again"), 1);
    let answering = health(gateway.operator(), &provider).await;
    assert_eq!((&answering["state"], &answering["failing"]), (&json!("down"), &Value::Null), "its breakers are open");

    let done = reset(gateway.operator(), &provider).await;
    assert_eq!(done["closed_breakers"], json!(["ok", "slow-0"]));
    assert_eq!((&done["health"]["state"], &done["health"]["models"]), (&json!("unknown"), &json!([])));
    let events = breaker_events(&gateway).await;
    let closed: Vec<_> = events.iter().filter(|event| event["type"] == "provider.breaker_closed.v1").collect();
    assert_eq!(closed.len(), 2, "{events:?}");
    assert!(closed.iter().all(|event| event["actor"] == "operator"), "{closed:?}");
    assert_eq!((&closed[0]["data"]["model"], &closed[0]["data"]["provider_id"]), (&json!("ok"), &json!(provider)));
    assert_eq!(reset(gateway.operator(), &provider).await["closed_breakers"], json!([]));
    assert_eq!(breaker_events(&gateway).await.len(), events.len(), "a second one changes nothing");
    tenant.chat("ok").await.must(200);
    let healthy = health(gateway.operator(), &provider).await;
    assert_eq!((&healthy["state"], &healthy["calls"]), (&json!("healthy"), &json!(1)));
    // What has ended is shown, and has nothing to reset.
    let path = format!("/v1/admin/providers/{provider}");
    gateway.operator().delete(&path).await.must(200);
    health(gateway.operator(), &provider).await;
    gateway.operator().post(&format!("{path}/health/reset"), &json!({})).await.must_be(409, "CONFLICT");
    gateway.operator().post(&format!("{path}/test"), &json!({})).await.must_be(409, "CONFLICT");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Verdicts by check.
fn verdicts(provider: &Value) -> Vec<(Value, Value)> {
    let findings = provider["findings"].as_array().expect("findings");
    findings.iter().map(|finding| (finding["check"].clone(), finding["verdict"].clone())).collect()
}

/// Holds: admin.provider-health
#[tokio::test(flavor = "multi_thread")]
async fn the_test_of_one_provider_finds_what_the_doctor_finds() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let gone = json!({ "name": "gone", "kind": "openai", "base_url": "http://127.0.0.1:9", "api_key": "k",
                       "allow_private_network": true, "tenant_id": tenant.id });
    let gone = made(gateway.operator(), "/providers", gone).await;
    let head = gateway.head().await;
    let report = gateway.operator().post("/v1/admin/doctor", &json!({})).await.must(200).json();
    for provider in [&tenant.provider, &gone] {
        let path = format!("/v1/admin/providers/{provider}/test");
        let tested = gateway.operator().post(&path, &json!({})).await.must(200).json();
        let found = report["providers"].as_array().expect("providers").iter();
        let found = found.clone().find(|one| one["provider_id"] == **provider).expect("the provider");
        assert_eq!(verdicts(&tested), verdicts(found));
        assert!(!verdicts(&tested).is_empty());
        let members = |provider: &Value| provider.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(&tested), members(found));
        assert!(!tested.to_string().contains(PROVIDER_SECRET));
        gateway.operator().post(&path, &json!({ "force": true })).await.must_be(400, "INVALID_REQUEST");
    }
    assert_eq!(gateway.head().await, head, "nothing is recorded");
    assert_eq!(health(gateway.operator(), &tenant.provider).await["calls"], 0, "and nothing is measured");
}

/// Holds: admin.provider-health
#[tokio::test(flavor = "multi_thread")]
async fn who_reaches_a_provider_sees_its_health() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let stranger = Tenant::new(&gateway, &upstream, &[]).await;
    let own = json!({ "name": "own", "kind": "simulator", "tenant_id": tenant.id });
    let own = made(gateway.operator(), "/providers", own).await;
    let (admin, foreign) = (administrator(&gateway, &tenant).await, administrator(&gateway, &stranger).await);
    let paths = |provider: &str| {
        let of = |rest: &str| format!("/v1/admin/providers/{provider}/{rest}");
        (of("health"), of("health/reset"), of("test"))
    };
    let (shown, reset, test) = paths(&own);
    admin.get(&shown).await.must(200);
    // As with a change: while the tenant may not have providers of its own, it does nothing with those that it has.
    for path in [&reset, &test] {
        admin.post(path, &json!({})).await.must_be(403, "FORBIDDEN");
    }
    let allowed = json!({ "own_providers": true });
    gateway.operator().patch(&format!("/v1/admin/tenants/{}", tenant.id), &allowed).await.must(200);
    assert_eq!(admin.post(&reset, &json!({})).await.must(200).json()["closed_breakers"], json!([]));
    assert_eq!(admin.post(&test, &json!({})).await.must(200).json()["tenant_id"], tenant.id.as_str());
    let nobodys = "prv_00000000000070008000000000000000";
    for path in [shown.as_str(), &paths(&tenant.provider).0, &paths(nobodys).0, &paths("x").0] {
        foreign.get(path).await.must_be(404, "NOT_FOUND");
        tenant.app.get(path).await.must_be(403, "FORBIDDEN");
    }
    let shared = paths(&tenant.provider);
    for path in [&reset, &test, &paths(nobodys).1, &paths("x").2] {
        foreign.post(path, &json!({})).await.must_be(404, "NOT_FOUND");
        tenant.app.post(path, &json!({})).await.must_be(403, "FORBIDDEN");
    }
    for path in [&shared.1, &shared.2] {
        admin.post(path, &json!({})).await.must_be(403, "FORBIDDEN");
    }
    gateway.client(None).get(&shown).await.must(401);
}

//! Changes while a request waits, or while another target fails: no provider is called under
//! settings that are no longer in force.

use std::time::Duration;

use chrono::TimeDelta;
use events::time::{Clock, SystemClock, rfc3339};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Reply;
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::target_places::House;
use crate::tenant::{NATIVE, PROVIDER_SECRET, Setup, Tenant, made, text};

/// A window that has begun, or one that is to come.
pub fn window(begins_in: i64) -> Value {
    let now = SystemClock::new().now();
    let at = |seconds| rfc3339(now + TimeDelta::seconds(seconds));
    json!([{ "from": at(begins_in), "to": at(begins_in + 3600) }])
}

/// A request waits for the only target, which has no room, and this is changed meanwhile. Returns its reply, and its end.
async fn while_one_waits(change: impl AsyncFnOnce(&House, &str)) -> (Reply, Value) {
    let mut house = House::new(1, &["gate"]).await;
    house.ask("first");
    house.until_seen(1).await;
    let (key, app) = house.tenant.new_key(&house.gateway, json!({})).await;
    let body = house.body("waits");
    let mut waits = JoinSet::new();
    waits.spawn(async move { app.post(NATIVE, &body).await });
    house.until_waiting(1).await;
    change(&house, &key).await;
    house.upstream.open_gate();
    let reply = waits.join_next().await.expect("a request").expect("a reply");
    house.all_answered().await;
    assert_eq!(house.upstream.seen().len(), 1 + usize::from(reply.status == 200));
    let end = house.end(&reply.request_id()).await;
    house.must_verify();
    (reply, end)
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_while_its_request_waits_calls_nothing() {
    let (reply, end) = while_one_waits(async |house, key| {
        house.gateway.operator().delete(&format!("/v1/admin/keys/{key}")).await.must(200);
    })
    .await;
    reply.must_be(401, "UNAUTHENTICATED");
    assert_eq!((&end["reason"], &end["cost_usd"]), (&json!("no_longer_allowed"), &json!("0.000000000")));
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn terms_that_the_tenant_adds_while_its_request_waits_are_met_or_nothing_is_called() {
    let (reply, end) = while_one_waits(async |house, _| {
        let path = format!("/v1/admin/tenants/{}", house.tenant.id);
        let terms = json!({ "required_terms": { "residency": "eu" } });
        house.gateway.operator().patch(&path, &terms).await.must(200);
    })
    .await;
    reply.must_be(403, "TERMS_NOT_MET");
    let passed_over = end["passed_over"].as_object().and_then(|all| all.values().next());
    assert_eq!(passed_over, Some(&json!(["no_room", "terms_not_met"])), "{end}");
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_begins_while_a_request_waits_is_kept() {
    let (reply, end) = while_one_waits(async |house, _| {
        let path = format!("/v1/admin/providers/{}", house.tenant.provider);
        house.gateway.operator().patch(&path, &json!({ "maintenance": window(-60) })).await.must(200);
    })
    .await;
    let refused = reply.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    assert!(refused.json()["error"]["details"]["maintenance_until"].is_string());
    let passed_over = end["passed_over"].as_object().and_then(|all| all.values().next());
    assert_eq!(passed_over, Some(&json!(["no_room", "maintenance"])), "{end}");
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn labels_and_maintenance_to_come_stop_no_request_that_waits() {
    let (reply, _) = while_one_waits(async |house, _| {
        let path = format!("/v1/admin/providers/{}", house.tenant.provider);
        let change = json!({ "labels": { "managed-by": "git" }, "maintenance": window(600) });
        house.gateway.operator().patch(&path, &change).await.must(200);
    })
    .await;
    reply.must(200);
}

/// Those who wait are served by the new limit, without a call that ends.
///
/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_serves_those_who_wait() {
    let mut house = House::new(1, &["gate"]).await;
    house.ask("first");
    house.until_seen(1).await;
    house.ask("waits");
    house.until_waiting(1).await;
    let path = format!("/v1/admin/models/{}", house.model);
    let mut targets = house.gateway.operator().get(&path).await.must(200).json()["targets"].clone();
    targets[0]["max_concurrent"] = json!(2);
    house.gateway.operator().patch(&path, &json!({ "targets": targets })).await.must(200);
    house.until_seen(2).await;
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        reply.must(200);
    }
    house.must_verify();
}

/// The first target does not answer in time; before that, this is changed of the second one. Returns what is explained of the second one, and the decision in words.
async fn while_the_first_target_fails(change: impl AsyncFnOnce(&Gateway, &Tenant, &str, &Value)) -> (Value, String) {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let required_terms = json!({ "residency": "eu" });
    let setup = Setup { timeout_ms: 3000, required_terms, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &[], setup).await;
    let mut targets = Vec::new();
    for (rank, backend) in ["hang", "ok"].into_iter().enumerate() {
        tenant.price(backend).await;
        targets.push(json!({ "provider_id": tenant.provider, "model": backend, "priority": rank, "region": "eu",
                             "default_max_output_tokens": 64 }));
    }
    let targets = json!(targets);
    let model = json!({ "name": tenant.model("both"), "targets": targets });
    let model = made(gateway.operator(), "/models", model).await;
    let (app, body) = (tenant.app.clone(), tenant.ask("both"));
    let mut asked = JoinSet::new();
    asked.spawn(async move { app.post(NATIVE, &body).await });
    while upstream.seen_of("hang") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    change(&gateway, &tenant, &model, &targets).await;
    let reply = asked.join_next().await.expect("a request").expect("a reply").must(503);
    assert_eq!(upstream.seen_of("ok"), 0);
    let route = explained(&gateway, &reply.request_id()).await["route"].clone();
    assert_eq!(route["follows"], true, "{route}");
    (route["targets"][1].clone(), told(&gateway, &reply.request_id()).await)
}

/// The routing decision of a request in words.
pub async fn told(gateway: &Gateway, request: &str) -> String {
    let path = format!("/v1/inferences/{request}?min_position={}", gateway.head().await);
    text(&gateway.operator().get(&path).await.must(200).json()["route"]["in_words"])
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_terms_are_withdrawn_is_not_called_in_the_place_of_another() {
    let (second, told) = while_the_first_target_fails(async |gateway, _, model, targets| {
        let mut targets = targets.clone();
        targets[1]["region"] = Value::Null;
        gateway.operator().patch(&format!("/v1/admin/models/{model}"), &json!({ "targets": targets })).await.must(200);
    })
    .await;
    assert_eq!((&second["passed_over"], &second["was_called"]), (&json!(["terms_not_met"]), &json!(false)));
    assert!(told.contains("/ok was passed over: it no longer met the terms that were required by then. "), "{told}");
}

/// Holds: inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_has_come_under_maintenance_is_not_called_in_the_place_of_another() {
    let (second, told) = while_the_first_target_fails(async |gateway, _, model, targets| {
        let mut targets = targets.clone();
        targets[1]["maintenance"] = window(-60);
        gateway.operator().patch(&format!("/v1/admin/models/{model}"), &json!({ "targets": targets })).await.must(200);
    })
    .await;
    assert_eq!((&second["passed_over"], &second["was_called"]), (&json!(["maintenance"]), &json!(false)));
    assert!(told.contains("/ok was passed over: it was under maintenance by then. "), "{told}");
}

/// The first target had no room, was waited for, and then failed, with an open breaker.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_had_no_room_and_then_failed_is_explained() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_FAILURES", "1")]);
    let mut house = House::of(gateway, 1, &["gate", "e500"]).await;
    let mut body = house.body("a stream");
    body["stream"] = json!(true);
    let app = house.gateway.client(Some(&house.tenant.secret));
    let stream = house.asked.spawn(async move { app.post(NATIVE, &body).await });
    house.until_seen(1).await;
    let (app, body) = (house.tenant.app.clone(), house.body("waits"));
    let mut waits = JoinSet::new();
    waits.spawn(async move { app.post(NATIVE, &body).await });
    house.until_waiting(1).await;
    house.upstream.refuses_key(PROVIDER_SECRET, 500, r#"{"error":{"message":"boom","type":"server_error"}}"#, &[]);
    stream.abort();
    let reply = waits.join_next().await.expect("a request").expect("a reply").must(503);
    let route = explained(&house.gateway, &reply.request_id()).await["route"].clone();
    assert_eq!(route["targets"][0]["passed_over"], json!(["no_room", "breaker_open"]), "{route}");
    assert_eq!(route["follows"], true, "{route}");
    let told = told(&house.gateway, &reply.request_id()).await;
    let passed_over = format!(
        " {}/gate was passed over: it had as many calls under way as it may; later, it had failed too often by \
         then, so that its breaker was open. ",
        house.tenant.name
    );
    assert!(told.contains(&passed_over), "{told}");
    house.must_verify();
}

//! A request that is sent again under its `Idempotency-Key` is not paid for twice.

use std::time::Duration;

use events::time::parse_rfc3339;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::client::{Client, Reply};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, text};

const SURFACES: [(&str, &str, &str); 2] =
    [(NATIVE, "CONFLICT", "IDEMPOTENCY_KEY_REUSED"), (OPENAI, "conflict", "idempotency_key_reused")];
const SOON: Duration = Duration::from_secs(10);

fn once(client: &Client, key: &str) -> Client {
    client.clone().with("idempotency-key", key)
}

/// Returns the request that came first, as a refusal names it.
fn first_of(reply: &Reply) -> Value {
    reply.json()["error"]["details"]["request_id"].clone()
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_refused_while_the_first_is_answered_and_once_it_was_charged() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["gate", "ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (_, sibling) = tenant.new_key(&gateway, json!({ "permissions": ["models:use", "usage:read"] })).await;
    for (number, (path, conflict, reused)) in SURFACES.into_iter().enumerate() {
        upstream.close_gate();
        let key = format!("order-{number}");
        let app = once(&tenant.app, &key);
        let (asking, body) = (app.clone(), tenant.ask("gate"));
        let mut first = JoinSet::new();
        first.spawn(async move { asking.post(path, &body).await });
        upstream.until_seen("gate", number + 1).await;
        let refused = app.post(path, &tenant.ask("gate")).await.must_be(409, conflict);
        assert!(!refused.header("retry-after").is_empty(), "it does not say when to come back");
        let in_flight = first_of(&refused);
        // Another request under the same key, whatever became of the first; a key is its tenant's.
        let another = app.post(path, &tenant.ask("ok")).await.must_be(409, reused);
        assert_eq!((first_of(&another), another.header("x-should-retry")), (in_flight.clone(), "false"));
        once(&sibling, &key).post(path, &tenant.ask("gate")).await.must_be(409, conflict);
        once(&other.app, &key).post(path, &other.ask("ok")).await.must(200);
        upstream.open_gate();
        let answer = first.join_next().await.expect("an answer").expect("an answer").must(200);
        assert_eq!(in_flight, answer.request_id());
        let charged = app.post(path, &tenant.ask("gate")).await.must_be(409, reused);
        let details = charged.json()["error"]["details"].clone();
        assert_eq!((&details["request_id"], charged.header("x-should-retry")), (&in_flight, "false"));
        assert_eq!(details["cost_usd"], answer.header("x-ledgerway-cost-usd"));
        assert!(charged.position() > answer.position(), "a refusal is a fact");
        let life = format!("/v1/inferences/{}?min_position={}", answer.request_id(), answer.position());
        assert_eq!(sibling.get(&life).await.must(200).json()["cost_usd"], details["cost_usd"]);
        // The two surfaces do not ask the same.
        let elsewhere = if path == NATIVE { OPENAI } else { NATIVE };
        assert_eq!(
            app.post(elsewhere, &tenant.ask("gate")).await.must(409).json()["error"]["details"].get("cost_usd"),
            None
        );
        assert_eq!(upstream.seen_of("gate"), number + 1);
    }
    // The alias of a path is the same surface.
    once(&tenant.app, "order-1").post("/oai/v1/chat/completions", &tenant.ask("gate")).await.must(409);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_or_refused_can_be_tried_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "ok"]).await;
    let app = once(&tenant.app, "again");
    let mut calls = 0;
    for _ in 0..3 {
        app.post(NATIVE, &tenant.ask("e500")).await.must(502);
        assert!(upstream.seen_of("e500") > calls, "it was not tried again");
        calls = upstream.seen_of("e500");
    }
    // It stands for the same request all the same.
    app.post(NATIVE, &tenant.ask("ok")).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    tenant.set_limit("0.000000001").await;
    let app = once(&tenant.app, "poor");
    app.post(NATIVE, &tenant.ask("ok")).await.must_be(429, "BUDGET_EXCEEDED");
    tenant.set_limit("5").await;
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    app.post(NATIVE, &tenant.ask("ok")).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    // Without a key every request is its own.
    tenant.chat("ok").await.must(200);
    tenant.chat("ok").await.must(200);
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_left_is_not_made_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["paced-50"]).await;
    let app = once(&tenant.app, "left");
    let mut stream = app.stream(OPENAI, &tenant.ask_streamed("paced-50")).await.expect("a stream");
    let request = stream.request_id();
    stream.next().await.expect("an event").expect("an event");
    drop(stream);
    gateway.books_when_all_ended(SOON).await;
    let refused = app.post(OPENAI, &tenant.ask_streamed("paced-50")).await.must_be(409, "idempotency_key_reused");
    assert_eq!(first_of(&refused), request);
    assert_eq!(upstream.seen_of("paced-50"), 1);
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_at_once_under_one_key_one_is_dispatched() {
    const AT_ONCE: usize = 200;
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["gate"]).await;
    let mut asking = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (app, body) = (once(&tenant.app, "once"), tenant.ask("gate"));
        asking.spawn(async move { app.post(NATIVE, &body).await });
    }
    let mut refused = Vec::new();
    while refused.len() < AT_ONCE - 1 {
        refused.push(asking.join_next().await.expect("an answer").expect("an answer").must_be(409, "CONFLICT"));
    }
    upstream.open_gate();
    let answer = asking.join_next().await.expect("an answer").expect("an answer").must(200);
    assert!(refused.iter().all(|refused| first_of(refused) == answer.request_id()));
    assert_eq!(upstream.seen_of("gate"), 1);
    assert_eq!(tenant.events_of(&gateway, &["inference.admitted"]).await.len(), 1);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_key_outlives_kill_9() {
    for (policy, after) in [("charge_hold", 409), ("release", 200)] {
        let env = [("LEDGERWAY_HOLD_TTL_SECONDS", "6"), ("LEDGERWAY_UNKNOWN_USAGE", policy)];
        let (mut gateway, upstream) = (Gateway::start_with(&env), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["ok", "gate"]).await;
        let (charged, lost) = (once(&tenant.app, "charged"), once(&tenant.app, "lost"));
        let answer = charged.post(NATIVE, &tenant.ask("ok")).await.must(200);
        let (asking, body) = (lost.clone(), tenant.ask("gate"));
        let mut first = JoinSet::new();
        first.spawn(async move { asking.try_post(NATIVE, &body).await.map(drop) });
        upstream.until_seen("gate", 1).await;
        gateway.kill();
        assert!(first.join_next().await.expect("an end").expect("an end").is_err(), "it was answered");
        gateway.start_again();
        let refused = charged.post(NATIVE, &tenant.ask("ok")).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(first_of(&refused), answer.request_id());
        let held = lost.post(NATIVE, &tenant.ask("gate")).await.must_be(409, "CONFLICT");
        let details = held.json()["error"]["details"].clone();
        let hold = gateway.life(&text(&details["request_id"])).await;
        assert_eq!(details["expires_at"], hold[1]["data"]["expires_at"], "{details}");
        let wait: i64 = held.header("retry-after").parse().expect("seconds");
        let admitted = parse_rfc3339(&text(&hold[1]["recorded_at"])).expect("a time");
        let expires = parse_rfc3339(&text(&details["expires_at"])).expect("a time");
        assert!((1..=(expires - admitted).num_seconds()).contains(&wait), "{wait} s until {expires}");
        let message = text(&held.json()["error"]["message"]);
        assert!(message.contains("process") && message.contains(&text(&details["expires_at"])), "{message}");
        upstream.open_gate();
        gateway.books_when_all_ended(SOON).await;
        let retried = lost.post(NATIVE, &tenant.ask("gate")).await.must(after);
        if after == 409 {
            let refused = retried.must_be(409, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!(first_of(&refused), first_of(&held));
            let request = first_of(&held).as_str().expect("an id").to_owned();
            let expired = gateway.life(&request).await.pop().expect("its end");
            assert_eq!(refused.json()["error"]["details"]["cost_usd"], expired["data"]["charged_usd"]);
        }
        assert_eq!(upstream.seen_of("gate"), if after == 409 { 1 } else { 2 }, "{policy}");
        gateway.stop();
        assert_eq!(gateway.verify().0, Some(0));
    }
}

/// Holds: inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_key_is_a_400_before_anything_is_sent() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for key in ["", "two words", &"x".repeat(256)] {
        for path in [NATIVE, OPENAI] {
            let refused = once(&tenant.app, key).post(path, &tenant.ask("ok")).await.must(400).json();
            assert_eq!(refused["error"]["details"]["field"], "idempotency-key", "{key:.20}");
        }
    }
    once(&tenant.app, &"x".repeat(255)).post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert_eq!(upstream.seen().len(), 1);
}

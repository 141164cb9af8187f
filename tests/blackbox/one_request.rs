//! Records that one request leaves, and their times.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use serde_json::Value;
use testing::upstream::{MockUpstream, TEXT};

use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

const FOUR_EVENTS: [&str; 4] =
    ["inference.admitted.v1", "budget.reserved.v1", "inference.completed.v1", "budget.settled.v1"];

/// Holds: event.life
#[tokio::test(flavor = "multi_thread")]
async fn one_request_leaves_exactly_four_events_in_every_dialect_whole_and_streamed() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind, ..Setup::default() }).await;
        for path in [NATIVE, OPENAI] {
            let before = gateway.facts().await.len();
            let whole = tenant.app.post(path, &tenant.ask("ok")).await.must(200);
            assert!(String::from_utf8_lossy(&whole.body).contains(TEXT), "{path} through {kind}");
            assert_eq!(gateway.types_of(&whole.request_id()).await, FOUR_EVENTS, "{path} through {kind}");
            let facts = gateway.facts().await;
            assert_eq!(facts.len(), before + 4, "nothing else is recorded");
            assert_eq!(facts.last().expect("an event")["position"], whole.position());

            let stream = tenant.stream(path, "ok").await;
            let request = stream.request_id();
            let (events, ended) = stream.rest().await;
            let last = events.last().expect("an event");
            assert!(ended && (last.is_done() || last.event == "completed"), "{path} through {kind}: {events:?}");
            assert_eq!(gateway.types_of(&request).await, FOUR_EVENTS, "streamed {path} through {kind}");
        }
    }
    gateway.books().await;
}

/// Holds: event.recorded-first
#[tokio::test(flavor = "multi_thread")]
async fn admission_and_hold_can_be_read_before_the_upstream_sees_the_request() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (operator, before) = (gateway.operator().clone(), gateway.head().await);
    let on_arrival: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let seen = Arc::clone(&on_arrival);
    upstream.on_request(move |_| {
        let (operator, seen) = (operator.clone(), Arc::clone(&seen));
        async move {
            let page = operator.get(&format!("/v1/events?after={before}")).await.must(200);
            let types = String::from_utf8_lossy(&page.body)
                .lines()
                .map(|line| type_of(&serde_json::from_str(line).expect("an event")).to_owned())
                .filter(|name| name != "access.read.v1")
                .collect();
            seen.lock().expect("the log on arrival").push(types);
        }
    });
    tenant.chat("ok").await.must(200);
    let (events, _) = tenant.stream(OPENAI, "ok").await.rest().await;
    assert!(events.last().is_some_and(|event| event.is_done()));
    let on_arrival = on_arrival.lock().expect("the log on arrival").clone();
    assert_eq!(on_arrival.first().expect("the first request"), &FOUR_EVENTS[..2]);
    assert_eq!(on_arrival.get(1).expect("the second request"), &[&FOUR_EVENTS[..], &FOUR_EVENTS[..2]].concat());
}

/// Holds: event.recorded-first
#[tokio::test(flavor = "multi_thread")]
async fn the_settlement_can_be_read_when_the_last_byte_arrives() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for path in [NATIVE, OPENAI] {
        let mut stream = tenant.stream(path, "ok").await;
        let request = stream.request_id();
        // Read at the closing event, while the connection is still open.
        loop {
            let event = stream.next().await.expect("a closing event").expect("a whole stream");
            if event.is_done() || event.event == "completed" {
                break;
            }
        }
        assert_eq!(gateway.types_of(&request).await, FOUR_EVENTS);
        let answer = tenant.app.post(path, &tenant.ask("ok")).await.must(200);
        assert_eq!(gateway.types_of(&answer.request_id()).await, FOUR_EVENTS);
    }
}

/// Holds: event.life, admin.strategies
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_target_is_followed_by_the_next_under_one_hold() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "close", "ok"]).await;
    tenant.add_model("all", &["e500", "close", "ok"]).await;
    let answer = tenant.chat("all").await.must(200);
    assert_eq!(answer.json()["backend"]["model"], "ok");
    let mut types = gateway.types_of(&answer.request_id()).await;
    let before = types.len();
    types.retain(|name| name != "inference.attempt_failed.v1");
    assert!(before >= types.len() + 2, "two targets failed before the third");
    assert_eq!(types, FOUR_EVENTS);
    gateway.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_request_and_pays_for_what_went_through() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["paced-300"]).await;
    let mut stream = tenant.stream(OPENAI, "paced-300").await;
    let request = stream.request_id();
    for _ in 0..3 {
        stream.next().await.expect("an event").expect("a whole stream");
    }
    drop(stream);
    let books = gateway.books_when_all_ended(std::time::Duration::from_secs(10)).await;
    assert_eq!(books.end_of(&request), Some("budget.settled"));
    let types = gateway.types_of(&request).await;
    assert!(types.contains(&"inference.aborted.v1".to_owned()), "{types:?}");
    assert!(books.balance(&tenant.budget).settled > 0);
}

/// Holds: inf.upstream-request-id
#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_own_id_is_recorded_also_where_it_stands_in_the_answer_alone() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for (kind, id) in [("openai", "chatcmpl-1"), ("anthropic", "msg_1")] {
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind, ..Setup::default() }).await;
        let whole = tenant.chat("ok").await.must(200).request_id();
        let stream = tenant.stream(OPENAI, "ok").await;
        let streamed = stream.request_id();
        stream.rest().await;
        for request in [whole, streamed] {
            let life = gateway.life(&request).await;
            assert_eq!(life[2]["data"]["upstream_request_id"], id, "{kind}: {}", life[2]);
        }
    }
}

fn time(text: &Value) -> DateTime<Utc> {
    text.as_str().expect("a time").parse().expect("RFC 3339")
}

/// Holds: bin.hold-ttl, bin.deadline
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_over_before_its_hold_would_be() {
    let upstream = MockUpstream::start().await;
    for (env, seconds, model, status) in
        [(&[][..], 900, "ok", 200), (&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")][..], 2, "hang", 504)]
    {
        let gateway = Gateway::start_with(env);
        let setup = Setup { timeout_ms: 30_000, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &[model], setup).await;
        let request = tenant.chat(model).await.must(status).request_id();
        let life = gateway.life(&request).await;
        let (begins, expires) = (time(&life[1]["recorded_at"]), time(&life[1]["data"]["expires_at"]));
        assert_eq!((expires - begins).num_seconds(), seconds, "{}", life[1]);
        let end = life.last().expect("an end");
        assert!(type_of(end) != "budget.expired.v1" && time(&end["recorded_at"]) < expires, "{end}");
    }
}

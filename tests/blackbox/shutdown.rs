//! How it ends when it is told to.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

/// The last line of the log.
fn last_line(gateway: &Gateway) -> Value {
    let log = gateway.stderr();
    serde_json::from_str(log.lines().last().expect("a line")).expect("a line of JSON")
}

/// Holds: bin.drain, query.health
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_what_is_in_flight_end_and_refuses_what_is_new() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["paced-150", "gate"]).await;
    let mut stream = tenant.stream(OPENAI, "paced-150").await;
    let mut whole = JoinSet::new();
    let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
    whole.spawn(async move { app.post(NATIVE, &body).await });
    while upstream.seen_of("gate") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream.next().await.expect("an event").expect("a whole stream");
    gateway.terminate();
    let newcomer = gateway.client(None);
    while newcomer.get("/health/ready").await.status != 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let health = newcomer.get("/health").await.must(503).json();
    assert_eq!((&health["status"], &health["parts"]["ledger"]), (&json!("draining"), &json!("ok")));
    newcomer.get("/health/live").await.must(200);
    tenant.chat("gate").await.must_be(503, "DRAINING");
    tenant.openai("gate").await.must(503);
    upstream.open_gate();
    let request = stream.request_id();
    let (events, _) = stream.rest().await;
    assert!(events.last().is_some_and(|event| event.is_done()), "{events:?}");
    let answered = whole.join_next().await.expect("an answer").expect("no panic").must(200).request_id();
    assert_eq!(gateway.wait_for_end(Duration::from_secs(10)).code(), Some(0));
    assert_eq!(last_line(&gateway)["message"], "stopped: all requests ended");

    gateway.start_again();
    let books = gateway.books().await;
    for request in [request, answered] {
        assert_eq!(books.end_of(&request), Some("budget.settled"));
    }
    assert!(books.open_holds().is_empty());
}

/// Holds: bin.second-signal
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_nothing_recorded_is_lost() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok", "hang"], setup).await;
    let answered = tenant.chat("ok").await.must(200).request_id();
    let mut waiting = JoinSet::new();
    let (app, body) = (tenant.app.clone(), tenant.ask("hang"));
    waiting.spawn(async move { app.try_post(NATIVE, &body).await.is_ok() });
    while upstream.seen_of("hang") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(gateway.is_running(), "it did not wait for what is in flight");
    gateway.terminate();
    gateway.wait_for_end(Duration::from_secs(3));
    gateway.start_again();
    assert_eq!(gateway.books().await.end_of(&answered), Some("budget.settled"));
}

/// Holds: bin.drain-delay, bin.second-signal
#[tokio::test(flavor = "multi_thread")]
async fn with_a_drain_delay_it_is_not_ready_and_serves_on_before_it_drains() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_DELAY_SECONDS", "2")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let newcomer = gateway.client(None);
    newcomer.get("/health/ready").await.must(200);
    gateway.terminate();
    while newcomer.get("/health/ready").await.status != 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let served = tenant.chat("ok").await.must(200).request_id();
    assert!(gateway.is_running(), "it did not wait for balancers to let go");
    assert_eq!(gateway.wait_for_end(Duration::from_secs(10)).code(), Some(0));
    gateway.start_again();
    assert_eq!(gateway.books().await.end_of(&served), Some("budget.settled"));
    gateway.terminate();
    while newcomer.get("/health/ready").await.status != 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.terminate();
    assert_eq!(gateway.wait_for_end(Duration::from_millis(1500)).code(), Some(1), "a second signal ends it at once");
}

/// Holds: bin.drain
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_ends_at_once() {
    let mut gateway = Gateway::start();
    gateway.terminate();
    assert_eq!(gateway.wait_for_end(Duration::from_secs(3)).code(), Some(0));
}

/// Holds: bin.drain-timeout
#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_drain_timeout_is_cut_off_and_its_end_is_recorded() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    let upstream = MockUpstream::start().await;
    let setup = Setup { timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["hang"], setup).await;
    let mut waiting = JoinSet::new();
    let (app, body) = (tenant.app.clone(), tenant.ask("hang"));
    waiting.spawn(async move { app.try_post(NATIVE, &body).await.is_err() });
    while upstream.seen_of("hang") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(gateway.is_running(), "it did not wait");
    assert_eq!(gateway.wait_for_end(Duration::from_secs(4)).code(), Some(0));
    assert_eq!(waiting.join_all().await, [true]);
    let last = last_line(&gateway);
    assert_eq!((&last["message"], &last["requests"]), (&json!("stopped: requests were cut off"), &json!(1)));
    gateway.start_again();
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
    let aborted = tenant.events_of(&gateway, &["inference.aborted"]).await;
    assert_eq!(aborted.len(), 1);
}

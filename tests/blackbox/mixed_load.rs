//! Two thousand requests, whole and streamed, thirty-two at a time, on two targets of which each fails one time in ten in
//! one of eight ways. `LOAD_SEED` draws other faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::{Chaos, MockUpstream};
use tokio::task::JoinSet;

use crate::books::{Books, usd};
use crate::gateway::{Gateway, ledgerway};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

const REQUESTS: u64 = 2000;
const AT_ONCE: usize = 32;
/// Requests of which one goes to a model whose first target nobody listens for.
const TO_A_CLOSED_PORT: u64 = 40;
const TIMEOUT_MS: u64 = 600;

/// The status, and whether the answer was whole, by request id.
type Answers = Arc<Mutex<BTreeMap<String, (u16, bool)>>>;

/// Holds: event.one-end, event.order
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_through_faults_end_once_each_and_the_books_close() {
    let seed = std::env::var("LOAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start_with(Chaos::of(seed)).await);
    let setup = Setup { limit_usd: "1000", timeout_ms: TIMEOUT_MS, ..Setup::default() };
    let tenant = Arc::new(Tenant::with(&gateway, &upstream, &["chaos-1", "chaos-2"], setup).await);
    tenant.add_model("both", &["chaos-1", "chaos-2"]).await;
    add_closed(&gateway, &tenant).await;
    let answers = ask_all(&tenant).await;

    let books = gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let answers = answers.lock().expect("the answers").clone();
    must_be_answered(&answers, &books, seed);
    let drawn = upstream.chaos().drawn();
    assert_eq!(drawn.len(), 9, "seed {seed} did not draw every fault: {drawn:?}");

    let (view, folded) = (gateway.budget(&tenant.budget).await, books.balance(&tenant.budget));
    assert_eq!((&view["settled_usd"], &view["held_usd"]), (&json!(usd(folded.settled)), &json!(usd(0))));
    let head = gateway.head().await;
    let usage =
        gateway.operator().get(&format!("/v1/usage?group_by=tenant&min_position={head}")).await.must(200).json();
    let counted: u64 = rows(&usage).map(|row| row["requests"].as_u64().expect("a count")).sum();
    assert_eq!(counted, REQUESTS, "{usage}");
    gateway.stop();
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
    let verified = ledgerway().args(["verify", "--json", "--data"]).arg(gateway.data()).output().expect("it starts");
    let said: Value = serde_json::from_slice(&verified.stdout).unwrap_or_default();
    assert_eq!(
        (&said["sound"], &said["open_holds"], &said["events"]),
        (&true.into(), &0.into(), &head.into()),
        "{said}"
    );
    assert!(said["views"]["rows"].as_u64().is_some_and(|rows| rows > REQUESTS), "{said}");
}

fn rows(usage: &Value) -> impl Iterator<Item = &Value> {
    usage["items"].as_array().expect("rows").iter()
}

/// A model whose first target is a port on which nobody listens, and whose second is one of the two.
async fn add_closed(gateway: &Gateway, tenant: &Tenant) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let provider = json!({ "name": "closed", "kind": "openai", "base_url": format!("http://127.0.0.1:{port}/v1"),
                           "api_key": "k", "allow_private_network": true, "timeout_ms": TIMEOUT_MS });
    let closed = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": closed, "model": "closed", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(gateway.operator(), "/prices", price).await;
    let target = |provider: &str, model: &str, rank: u32| {
        json!({ "provider_id": provider, "model": model, "priority": rank, "weight": 1, "max_output_tokens": 256,
                "default_max_output_tokens": 256 })
    };
    let targets = [target(&closed, "closed", 0), target(&tenant.provider, "chaos-2", 1)];
    let model = json!({ "name": tenant.model("closed"), "strategy": "priority", "targets": targets });
    made(gateway.operator(), "/models", model).await;
}

async fn ask_all(tenant: &Arc<Tenant>) -> Answers {
    let (next, answers) = (Arc::new(AtomicU64::new(0)), Answers::default());
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (tenant, next, answers) = (Arc::clone(tenant), Arc::clone(&next), Arc::clone(&answers));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= REQUESTS {
                    return;
                }
                let (request, status, is_whole) = ask(&tenant, number).await;
                let before = answers.lock().expect("the answers").insert(request.clone(), (status, is_whole));
                assert!(before.is_none(), "two answers to {request}");
            }
        });
    }
    workers.join_all().await;
    answers
}

async fn ask(tenant: &Tenant, number: u64) -> (String, u16, bool) {
    let model = if number.is_multiple_of(TO_A_CLOSED_PORT) { "closed" } else { "both" };
    let path = if number % 4 < 2 { NATIVE } else { OPENAI };
    let mut body = tenant.ask(model);
    body["messages"][0]["content"] = json!(format!("request {number}"));
    if number.is_multiple_of(2) {
        let reply = tenant.app.post(path, &body).await;
        return (reply.request_id(), reply.status, reply.status == 200);
    }
    body["stream"] = json!(true);
    let stream = tenant.app.stream(path, &body).await.expect("a stream");
    let (request, status) = (stream.request_id(), stream.status);
    let (events, _) = stream.rest().await;
    let is_whole = events.last().is_some_and(|event| event.is_done() || event.event == "completed");
    (request, status, is_whole)
}

/// Checks that every request with status 200 was charged, whole or cut off, and that every failed one was not.
fn must_be_answered(answers: &BTreeMap<String, (u16, bool)>, books: &Books, seed: u64) {
    assert_eq!(answers.len() as u64, REQUESTS);
    let mut whole = 0;
    for (request, (status, is_whole)) in answers {
        assert!(books.admitted().contains(request), "seed {seed}: {request} is not admitted");
        let end = books.end_of(request);
        match (status, is_whole) {
            (200, true) => {
                whole += 1;
                assert_eq!(end, Some("budget.settled"), "seed {seed}: {request}");
            }
            (200, false) => assert_eq!(end, Some("budget.settled"), "seed {seed}: {request} was cut off"),
            (429 | 502 | 503 | 504, false) => assert_eq!(end, Some("budget.released"), "seed {seed}: {request}"),
            other => panic!("seed {seed}: {request}: {other:?}"),
        }
    }
    assert_eq!(books.admitted().len() as u64, REQUESTS);
    assert!(whole > REQUESTS * 9 / 10, "seed {seed}: only {whole} were answered");
    assert!(whole < REQUESTS, "seed {seed}: nothing failed");
}

//! Every surface reaches every family of providers, and whatever a family's servers send, each request ends once, the books
//! close and memory comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::SampleUpstream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::gateway::{Gateway, ledgerway};
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, made, text};

/// `FAMILY_REQUESTS` asks for another number.
const REQUESTS: usize = 5000;
const AT_ONCE: usize = 24;
const TIMEOUT_MS: u64 = 700;
/// Memory that may stay with the allocator.
const KEPT_KIB: u64 = 48 * 1024;

/// A surface: its path, and a request of it.
struct Surface {
    path: &'static str,
    ask: fn(&str) -> Value,
}

const SURFACES: [Surface; 5] = [
    Surface { path: NATIVE, ask: chat },
    Surface { path: OPENAI, ask: chat },
    Surface { path: "/v1/messages", ask: message },
    Surface { path: "/v1/responses", ask: |model| json!({ "model": model, "input": "hello" }) },
    Surface { path: "/v1/completions", ask: |model| json!({ "model": model, "prompt": "hello", "max_tokens": 64 }) },
];

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] })
}

fn message(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 64, "messages": [{ "role": "user", "content": "hello" }] })
}

pub fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

/// Returns the fields that a provider of a kind needs besides its address.
pub fn provider(kind: &str, name: &str, base_url: &str) -> Value {
    let mut provider = json!({
        "name": name, "kind": kind, "base_url": base_url, "api_key": PROVIDER_SECRET, "allow_private_network": true,
        "timeout_ms": TIMEOUT_MS, "idle_timeout_ms": TIMEOUT_MS,
    });
    if kind == "bedrock" {
        provider["region"] = json!("us-east-1");
        provider["api_key"] = json!(format!("AKIDEXAMPLE:{PROVIDER_SECRET}"));
    }
    provider
}

/// A priced model whose provider is at this address.
async fn add_model(gateway: &Gateway, kind: &str, name: &str, base_url: &str) {
    let operator = gateway.operator();
    let provider = made(operator, "/providers", provider(kind, name, base_url)).await;
    let price =
        json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(operator, "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "m", "context_window": 200_000, "max_output_tokens": 4096,
                           "default_max_output_tokens": 256 }]);
    made(operator, "/models", json!({ "name": name, "targets": targets })).await;
}

async fn app(gateway: &Gateway) -> Client {
    gateway.client(Some(&key(gateway).await))
}

/// The secret of a key with a budget that nobody can use up here.
pub async fn key(gateway: &Gateway) -> String {
    let operator = gateway.operator();
    let user = made(operator, "/users", json!({ "name": "u", "email": "u@example.com" })).await;
    let key = operator.post("/v1/admin/keys", &json!({ "user_id": user, "name": "app" })).await.must(201).json();
    let budget = json!({ "scope": { "key_id": key["id"] }, "limit_usd": "100000", "period": "total" });
    made(operator, "/budgets", budget).await;
    text(&key["secret"])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_surface_gets_every_sample_of_every_family_and_is_charged_what_it_reports() {
    let (gateway, upstream) = (Gateway::start(), SampleUpstream::start(golden(), 0).await);
    let app = app(&gateway).await;
    let mut asked = BTreeMap::new();
    for kind in upstream.kinds() {
        for streamed in [false, true] {
            for sample in upstream.samples(&kind, streamed) {
                let name = format!("{kind}/{sample}");
                add_model(&gateway, &kind, &name, &upstream.address(&kind, &sample)).await;
                let metered = metered(&kind, &sample);
                for Surface { path, ask } in SURFACES {
                    let mut body = ask(&name);
                    let request = if streamed {
                        body["stream"] = json!(true);
                        let stream = app.stream(path, &body).await.expect("a stream");
                        let request = stream.request_id();
                        stream.rest().await;
                        request
                    } else {
                        app.post(path, &body).await.request_id()
                    };
                    asked.insert(request, (format!("{name} at {path}"), metered.clone()));
                }
            }
        }
    }
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let mut ended = 0;
    for event in gateway.events().await {
        let request = event["request_id"].as_str().unwrap_or_default();
        let Some((what, metered)) = asked.get(request) else { continue };
        match event["type"].as_str().unwrap_or_default() {
            "inference.completed.v1" => {
                ended += 1;
                assert_eq!(metered["fault"], Value::Null, "{what} should have failed: {event}");
                if let Some(reported) = metered["reported"].as_object() {
                    let usage = &event["data"]["usage"];
                    assert_eq!(usage["source"], "provider", "{what}: {event}");
                    let differs = |(class, tokens): (&String, &Value)| (usage[class] != *tokens).then(|| class.clone());
                    let differing: Vec<_> = reported.iter().filter_map(differs).collect();
                    assert!(differing.is_empty(), "{what}: {differing:?} in {event}, {metered}");
                }
            }
            "inference.failed.v1" | "inference.aborted.v1" => {
                ended += 1;
                // Some surfaces have no word for an answer that ended with an error.
                let may_fail = metered["fault"] != Value::Null || metered["finish_reason"] == "error";
                assert!(may_fail, "{what} should have been an answer: {event}");
            }
            _ => {}
        }
    }
    assert_eq!(ended, asked.len());
}

/// Returns the measurements of the sample by the crate of dialects.
pub fn metered(kind: &str, sample: &str) -> Value {
    let file = golden().join(kind).join("answers").join(format!("{sample}.metered.json"));
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// Holds: event.one-end, http.upstream-words
#[tokio::test(flavor = "multi_thread")]
async fn spoiled_answers_of_all_families_end_once_each_and_leave_nothing_behind() {
    let requests = std::env::var("FAMILY_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(REQUESTS);
    let seed = std::env::var("FAMILY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let (mut gateway, upstream) = (Gateway::start(), SampleUpstream::start(golden(), seed).await);
    let app = app(&gateway).await;
    let kinds = upstream.kinds();
    for kind in &kinds {
        add_model(&gateway, kind, kind, &upstream.address(kind, "any")).await;
    }
    ask(&app, &kinds, requests / 10).await;
    let before = gateway.resident_kib();
    ask(&app, &kinds, requests).await;
    let books = gateway.books_when_all_ended(Duration::from_secs(30)).await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
    let after = gateway.resident_kib();
    assert!(after < before + KEPT_KIB, "{before} KiB before, {after} KiB after");
    let sent = upstream.sent();
    for kind in &kinds {
        let faults = SampleUpstream::faults().iter().filter(|fault| !sent.contains_key(&(kind.clone(), **fault)));
        assert_eq!(faults.collect::<Vec<_>>(), Vec::<&&str>::new(), "they were not sent as {kind}");
    }
    gateway.stop();
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
    assert!(!gateway.stderr().contains(PROVIDER_SECRET), "the log has a secret");
    let verified = ledgerway().args(["verify", "--data"]).arg(gateway.data()).output().expect("it starts");
    assert!(verified.status.success(), "{verified:?}");
}

/// Asks every family on every surface, whole and streamed, by turns.
async fn ask(app: &Client, kinds: &[String], requests: usize) {
    let (turns, leaked) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Mutex::new(Vec::new())));
    let mut asking = JoinSet::new();
    for number in 0..requests {
        let kind = &kinds[number % kinds.len()];
        let Surface { path, ask } = SURFACES[number / kinds.len() % SURFACES.len()];
        let (mut body, app, leaked) = (ask(kind), app.clone(), Arc::clone(&leaked));
        let turn = Arc::clone(&turns).acquire_owned().await.expect("a turn");
        let streamed = (number / kinds.len() / SURFACES.len()).is_multiple_of(2);
        asking.spawn(async move {
            let said = if streamed {
                body["stream"] = json!(true);
                let stream = app.stream(path, &body).await.expect("a stream");
                format!("{:?}", stream.rest().await.0)
            } else {
                String::from_utf8_lossy(&app.post(path, &body).await.body).into_owned()
            };
            if said.contains(PROVIDER_SECRET) {
                leaked.lock().expect("the leaks").push(said);
            }
            drop(turn);
        });
    }
    while let Some(done) = asking.join_next().await {
        done.expect("a request");
    }
    let leaked = leaked.lock().expect("the leaks");
    assert!(leaked.is_empty(), "{leaked:?}");
}

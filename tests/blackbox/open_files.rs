//! Calls to providers where files are few: one key, one tenant and one provider leave room for others, and what finds none is refused
//! before anything is sent. The gateways may have 256 files open, which leaves about 50 for calls.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::abandoned::{metric, until_metric_is};
use crate::client::{Client, Reply};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Setup, Tenant, made, text};

const FILES: u64 = 256;
/// More calls than any bound allows.
const MANY: usize = 60;
const UNDER_WAY: &str = "ledgerway_upstream_calls_under_way";
/// When nobody has been answered for so long, all that are left have been sent.
const QUIET: Duration = Duration::from_secs(2);

async fn tenant(gateway: &Gateway, upstream: &MockUpstream, backends: &[&str]) -> Tenant {
    // The gate stays closed for longer than the test takes.
    Tenant::with(gateway, upstream, backends, Setup { timeout_ms: 60_000, ..Setup::default() }).await
}

/// Sends the same request many times at once, on one connection.
fn ask(app: &Client, body: &Value) -> JoinSet<Reply> {
    let app = app.clone().over_http2();
    let mut asked = JoinSet::new();
    for _ in 0..MANY {
        let (app, body) = (app.clone(), body.clone());
        asked.spawn(async move { app.post(NATIVE, &body).await });
    }
    asked
}

fn scope_of(refused: &Reply) -> String {
    assert_eq!(refused.header("retry-after"), "1");
    text(&refused.json()["error"]["details"]["scope"])
}

/// The scopes of the refusals. The other requests hang.
async fn refused(asked: &mut JoinSet<Reply>) -> Vec<String> {
    let mut scopes = Vec::new();
    while let Ok(Some(reply)) = timeout(QUIET, asked.join_next()).await {
        scopes.push(scope_of(&reply.expect("an answer").must_be(503, "OVERLOADED")));
    }
    scopes
}

/// Holds: inf.open-files
#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_files_are_refused_before_anything_is_sent() {
    let (gateway, upstream) = (Gateway::start_with_file_limit(FILES), MockUpstream::start().await);
    let greedy = tenant(&gateway, &upstream, &["gate"]).await;
    let other = tenant(&gateway, &upstream, &["ok", "gate"]).await;
    let mut asked = ask(&greedy.app, &greedy.ask("gate"));
    let of_key = refused(&mut asked).await;
    assert!(!of_key.is_empty() && of_key.iter().all(|scope| scope == "key"), "{of_key:?}");
    let (_, second_key) = greedy.new_key(&gateway, json!({})).await;
    // At another provider: it has its share of the first one.
    let mut asked_too = ask(&second_key, &other.ask("gate"));
    let of_tenant = refused(&mut asked_too).await;
    assert!(!of_tenant.is_empty() && of_tenant.iter().all(|scope| scope == "tenant"), "{of_tenant:?}");
    let sent = asked.len() + asked_too.len();
    assert_eq!((asked.len() + of_key.len(), asked_too.len() + of_tenant.len()), (MANY, MANY));
    assert_eq!(upstream.seen_of("gate"), sent);
    assert_eq!(metric(&gateway, UNDER_WAY).await, sent as u64);
    let refused = metric(&gateway, "ledgerway_upstream_calls_refused_total").await;
    assert_eq!(refused, (of_key.len() + of_tenant.len()) as u64);
    // Nothing of the others is held, sent or recorded.
    assert_eq!(greedy.events_of(&gateway, &["inference.admitted"]).await.len(), sent);
    other.chat("ok").await.must(200);
    gateway.operator().post("/v1/admin/partners", &json!({ "name": "beside" })).await.must(201);
    upstream.open_gate();
    for reply in asked.join_all().await.into_iter().chain(asked_too.join_all().await) {
        reply.must(200);
    }
    until_metric_is(&gateway, UNDER_WAY, 0).await;
    assert!(!gateway.stderr().contains("Too many open files"), "{}", gateway.stderr());
}

/// Holds: inf.open-files
#[tokio::test(flavor = "multi_thread")]
async fn a_full_provider_is_passed_over_and_no_breaker_opens() {
    let (gateway, upstream) = (Gateway::start_with_file_limit(FILES), MockUpstream::start().await);
    let first = tenant(&gateway, &upstream, &["gate"]).await;
    let second = tenant(&gateway, &upstream, &["ok"]).await;
    let target = |tenant: &Tenant, model: &str, priority: u32| {
        let provider = &tenant.provider;
        json!({ "provider_id": provider, "model": model, "priority": priority, "default_max_output_tokens": 64 })
    };
    let targets = [target(&first, "gate", 0), target(&second, "ok", 1)];
    let both = json!({ "name": first.model("both"), "strategy": "priority", "targets": targets });
    made(gateway.operator(), "/models", both).await;
    // Neither tenant may have so many calls that its provider is full, and both together have.
    let mut asked = ask(&first.app, &first.ask("gate"));
    refused(&mut asked).await;
    let mut asked_too = ask(&second.app, &first.ask("gate"));
    let scopes = refused(&mut asked_too).await;
    assert!(scopes.iter().any(|scope| scope == "provider"), "{scopes:?}");
    let sent = upstream.seen_of("gate");
    assert_eq!(sent, asked.len() + asked_too.len());
    let reply = second.app.post(NATIVE, &first.ask("gate")).await.must_be(503, "OVERLOADED");
    assert_eq!(scope_of(&reply), "provider");
    let served = second.app.post(NATIVE, &first.ask("both")).await.must(200);
    let life = gateway.life(&served.request_id()).await;
    assert!(life.iter().any(|event| event.to_string().contains("\"no_place\"")), "{life:?}");
    assert_eq!(upstream.seen_of("gate"), sent, "nothing more was sent");
    assert_eq!(metric(&gateway, "ledgerway_breakers_open").await, 0);
    upstream.open_gate();
    for reply in asked.join_all().await.into_iter().chain(asked_too.join_all().await) {
        reply.must(200);
    }
    first.chat("gate").await.must(200);
}

/// Holds: inf.open-files
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_many_providers_make_room_for_others() {
    const PROVIDERS: usize = 220;
    let (gateway, upstream) = (Gateway::start_with_file_limit(FILES), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream, &["ok"]).await;
    for number in 0..PROVIDERS {
        let model = format!("m{number}");
        tenant.add_model_at(&model, &upstream.base_url("openai")).await;
        tenant.chat(&model).await.must(200);
    }
    let open = metric(&gateway, "process_open_fds").await;
    assert!(open < PROVIDERS as u64, "{open} files are open");
    assert!(!gateway.stderr().contains("Too many open files"), "{}", gateway.stderr());
}

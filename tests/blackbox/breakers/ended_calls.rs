//! Calls that their callers end, or the gateway itself, after a long silence of the target.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{FAILING, Failing, SOON, breaker_events};
use crate::abandoned::until_metric_is;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant, made};

/// Longer than the ten seconds after which a client that leaves has waited for the target.
const LONG: Duration = Duration::from_millis(10_500);

/// Targets of the provider that fails, which never answer, each in a model of its own before one that answers.
async fn with_silent(gateway: &Gateway, backends: &[&str]) -> Failing {
    let failing = Failing::start(gateway).await;
    failing.upstream.accepts_key(FAILING, &[]);
    for &backend in backends {
        let price = json!({ "provider_id": failing.provider, "model": backend, "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "15" });
        made(gateway.operator(), "/prices", price).await;
        failing.model(gateway, backend, &[backend], &["ok"]).await;
    }
    failing
}

/// The clients of a tenant that ask a model of somebody for streams.
async fn ask(gateway: &Gateway, upstream: &MockUpstream, tenant: &Tenant, body: &Value, clients: usize) -> JoinSet<()> {
    let backend = body["model"].as_str().and_then(|model| model.rsplit('/').next()).expect("a model");
    let seen = upstream.seen_of(backend);
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let (client, body) = (gateway.client(Some(&tenant.secret)), body.clone());
        asking.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        });
    }
    upstream.until_seen(backend, seen + clients).await;
    asking
}

/// They leave after a long wait, and the gateway has recorded it.
async fn leave(gateway: &Gateway, asking: impl IntoIterator<Item = JoinSet<()>>) {
    sleep(LONG).await;
    for mut clients in asking {
        clients.shutdown().await;
    }
    gateway.books_when_all_ended(SOON).await;
}

/// The calls of the provider's model in its health, and those that failed; `None` if none has counted.
async fn counted(gateway: &Gateway, provider: &str, model: &str) -> Option<[Value; 2]> {
    let path = format!("/v1/admin/providers/{provider}/health");
    let health = gateway.operator().get(&path).await.must(200).json();
    let models = health["models"].as_array().expect("models");
    let found = models.iter().find(|found| found["model"] == model)?;
    Some([found["calls"].clone(), found["failed"].clone()])
}

/// Holds: inf.breakers, admin.provider-health
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_one_tenant_that_leave_open_a_breaker_only_with_those_of_another_or_an_error_of_the_targets_own() {
    let gateway = Gateway::start();
    let failing = with_silent(&gateway, &["hang", "hang-2"]).await;
    let (upstream, tenant) = (&failing.upstream, &failing.tenant);
    let other = Tenant::new(&gateway, upstream, &[]).await;
    let (one, two) = (tenant.ask_streamed("hang"), tenant.ask_streamed("hang-2"));
    let asking = [ask(&gateway, upstream, tenant, &one, 6).await, ask(&gateway, upstream, tenant, &two, 6).await];
    leave(&gateway, asking).await;
    for backend in ["hang", "hang-2"] {
        assert_eq!(counted(&gateway, &failing.provider, backend).await, None, "it says nothing of {backend}");
    }

    // The key is refused: an error of its own.
    upstream.refuses_key(FAILING, 503, "{}", &[]);
    other.app.post(NATIVE, &tenant.ask("hang-2")).await.must(200);
    let opened = breaker_events(&gateway, 1).await;
    assert_eq!(opened.len(), 1, "{opened:?}");
    let data = &opened[0]["data"];
    assert_eq!((&data["model"], &data["failures"]), (&json!("hang-2"), &json!(7)), "{data}");
    assert_eq!((&data["reason"], &data["status"]), (&json!("status"), &json!(503)), "{data}");

    upstream.accepts_key(FAILING, &[]);
    leave(&gateway, [ask(&gateway, upstream, &other, &one, 1).await]).await;
    let opened = breaker_events(&gateway, 2).await;
    assert_eq!(opened.len(), 2, "{opened:?}");
    let data = &opened[1]["data"];
    assert_eq!((&data["model"], &data["failures"]), (&json!("hang"), &json!(7)), "{data}");
    assert_eq!((&data["reason"], data.get("status")), (&json!("client_closed"), None), "{data}");
    assert_eq!(counted(&gateway, &failing.provider, "hang").await, Some([json!(1), json!(1)]));
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_its_client_leaves_does_not_keep_the_breaker_open() {
    let env = [("LEDGERWAY_BREAKER_SECONDS", "2"), ("LEDGERWAY_BREAKER_FAILURES", "1")];
    let gateway = Gateway::start_with(&env);
    let failing = with_silent(&gateway, &["hang"]).await;
    let (upstream, tenant) = (&failing.upstream, &failing.tenant);
    upstream.refuses_key(FAILING, 503, "{}", &[]);
    tenant.chat("hang").await.must(200);
    breaker_events(&gateway, 1).await;
    upstream.accepts_key(FAILING, &[]);
    sleep(Duration::from_secs(3)).await;
    leave(&gateway, [ask(&gateway, upstream, tenant, &tenant.ask_streamed("hang"), 1).await]).await;

    // The next request tries it again, and fails by an error of the target's own.
    upstream.refuses_key(FAILING, 503, "{}", &[]);
    tenant.chat("hang").await.must(200);
    let opened = breaker_events(&gateway, 2).await;
    assert_eq!(opened.len(), 2, "{opened:?}");
    let data = &opened[1]["data"];
    assert_eq!((&data["failures"], &data["reason"]), (&json!(2), &json!("status")), "{data}");
}

/// Nobody else calls it.
///
/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_open_the_breaker_of_their_tenants_own_provider() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let provider = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"), "api_key": "k",
                           "allow_private_network": true, "tenant_id": tenant.id });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": "hang", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    let target = json!({ "provider_id": provider, "model": "hang", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("hang"), "tenant_id": tenant.id, "targets": [target] });
    made(gateway.operator(), "/models", model).await;
    leave(&gateway, [ask(&gateway, &upstream, &tenant, &tenant.ask_streamed("hang"), 5).await]).await;
    let opened = breaker_events(&gateway, 1).await;
    let data = &opened[0]["data"];
    assert_eq!((&data["failures"], &data["reason"]), (&json!(5), &json!("client_closed")), "{data}");
    assert_eq!(counted(&gateway, &provider, "hang").await, Some([json!(5), json!(5)]));
}

/// Calls of two tenants, for streams and for whole answers whose clients have left.
///
/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_stopping_node_cuts_off_open_no_breaker() {
    let env = [("LEDGERWAY_BREAKER_FAILURES", "1"), ("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")];
    let mut gateway = Gateway::start_with(&env);
    let failing = with_silent(&gateway, &["hang"]).await;
    let (upstream, tenant) = (&failing.upstream, &failing.tenant);
    let other = Tenant::new(&gateway, upstream, &[]).await;
    let mut asking = Vec::new();
    for owner in [tenant, &other] {
        asking.push(ask(&gateway, upstream, owner, &tenant.ask_streamed("hang"), 3).await);
        ask(&gateway, upstream, owner, &tenant.ask("hang"), 3).await.shutdown().await;
    }
    until_metric_is(&gateway, "ledgerway_abandoned_calls", 6).await;
    sleep(LONG).await;
    gateway.terminate();
    assert_eq!(gateway.wait_for_end(SOON).code(), Some(0));
    drop(asking);
    gateway.start_again();
    assert_eq!(breaker_events(&gateway, 0).await, Vec::<Value>::new());
}

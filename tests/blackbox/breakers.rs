//! Targets that fail again and again, and whose breakers are open for a while.

mod ended_calls;
mod last_resort;

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::nodes::Cluster;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, Tenant, made};

/// The key of the provider that fails, whose calls the upstream tells from others by it.
const FAILING: &str = "the-key-of-the-failing-one";
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// How long a breaker is open where its end is waited for.
const SECONDS: u64 = 6;

/// A tenant, the provider that fails, and a model that tries it before another one.
struct Failing {
    upstream: MockUpstream,
    tenant: Tenant,
    provider: String,
}

impl Failing {
    async fn start(gateway: &Gateway) -> Self {
        let upstream = MockUpstream::start().await;
        let tenant = Tenant::new(gateway, &upstream, &["ok", "reject-400"]).await;
        let provider = json!({
            "name": format!("{}-failing", tenant.name), "kind": "openai", "base_url": upstream.base_url("openai"),
            "api_key": FAILING, "allow_private_network": true,
        });
        let provider = made(gateway.operator(), "/providers", provider).await;
        for model in ["m", "reject-400"] {
            let price = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": "3",
                                "output_usd_per_mtok": "15" });
            made(gateway.operator(), "/prices", price).await;
        }
        let failing = Self { upstream, tenant, provider };
        failing.model(gateway, "guarded", &["m"], &["ok"]).await;
        failing.upstream.refuses_key(FAILING, 503, "{}", &[]);
        failing
    }

    /// A model that tries backends of the provider that fails, and then others.
    async fn model(&self, gateway: &Gateway, name: &str, failing: &[&str], others: &[&str]) {
        let target = |provider: &str, backend: &&str, priority: u32| {
            json!({ "provider_id": provider, "model": backend, "priority": priority,
                    "default_max_output_tokens": 64 })
        };
        let first = failing.iter().map(|backend| target(&self.provider, backend, 0));
        let targets: Vec<_> =
            first.chain(others.iter().map(|backend| target(&self.tenant.provider, backend, 1))).collect();
        made(gateway.operator(), "/models", json!({ "name": self.tenant.model(name), "targets": targets })).await;
    }

    /// The calls to the provider that fails.
    fn calls(&self) -> usize {
        self.upstream.seen_with(FAILING)
    }

    async fn must_serve(&self, requests: usize) {
        for _ in 0..requests {
            let reply = self.tenant.chat("guarded").await.must(200);
            assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", self.tenant.name));
        }
    }
}

/// The events of breakers, as soon as there are so many: no request waits until one is recorded.
async fn breaker_events(gateway: &Gateway, at_least: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let log = gateway.events().await;
        let events: Vec<Value> =
            log.into_iter().filter(|event| type_of(event).starts_with("provider.breaker_")).collect();
        if events.len() >= at_least {
            return events;
        }
        assert!(began.elapsed() < SOON, "{events:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn open_breakers(gateway: &Gateway) -> String {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("ledgerway_breakers_open "));
    line.expect("the gauge").to_owned()
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_five_times_gets_no_requests_and_is_then_tried_by_one() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "6")]);
    let failing = Failing::start(&gateway).await;
    let began = Instant::now();
    failing.must_serve(20).await;
    let opened = breaker_events(&gateway, 1).await;
    // On a very slow machine, it may have been tried again.
    let tries = 1 + usize::try_from(began.elapsed().as_secs() / SECONDS).expect("a number");
    assert!((5..5 + tries).contains(&failing.calls()), "{} calls", failing.calls());
    let data = &opened[0]["data"];
    assert_eq!(
        (&opened[0]["type"], &opened[0]["actor"]),
        (&json!("provider.breaker_opened.v1"), &json!("system:breakers"))
    );
    assert_eq!((&data["provider_id"], &data["model"]), (&json!(failing.provider), &json!("m")));
    assert_eq!((&data["failures"], &data["reason"], &data["status"]), (&json!(5), &json!("status"), &json!(503)));
    assert_eq!(open_breakers(&gateway).await, "1");
    let request = failing.tenant.chat("guarded").await.must(200).request_id();
    let failing_target = format!("{}/m", failing.provider);
    let life = gateway.life(&request).await;
    let route = &life[0]["data"]["route"];
    assert_eq!(
        (&route["strategy"], &route["left_out"]),
        (&json!("priority"), &json!({ failing_target: "breaker_open" }))
    );
    let explained = gateway.operator().get(&format!("/v1/inferences/{request}/explain")).await.must(200).json();
    let target = |at: usize, member: &str| explained["route"]["targets"][at][member].clone();
    assert_eq!(explained["route"]["follows"], true, "{explained}");
    assert_eq!((target(0, "rank"), target(0, "left_out")), (json!(1), json!("breaker_open")));
    assert_eq!((target(1, "rank"), target(1, "left_out")), (json!(2), json!(null)));

    sleep(Duration::from_secs(SECONDS)).await;
    let before = failing.calls();
    failing.must_serve(1).await;
    assert_eq!(failing.calls(), before + 1, "a probe is not repeated");
    let opened = breaker_events(&gateway, 2).await;
    assert_eq!((&opened[1]["type"], &opened[1]["data"]["failures"]), (&json!("provider.breaker_opened.v1"), &json!(1)));
    failing.must_serve(5).await;
    assert_eq!(failing.calls(), before + 1);

    failing.upstream.accepts_key(FAILING, &[]);
    sleep(Duration::from_secs(SECONDS)).await;
    let reply = failing.tenant.chat("guarded").await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}-failing/m", failing.tenant.name));
    let closed = breaker_events(&gateway, 3).await;
    assert_eq!(closed[2]["type"], "provider.breaker_closed.v1");
    assert_eq!(open_breakers(&gateway).await, "0");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_no_other_one_can_replace_is_called_although_its_breaker_is_open() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "600")]);
    let failing = Failing::start(&gateway).await;
    failing.model(&gateway, "only", &["m"], &[]).await;
    for _ in 0..6 {
        failing.tenant.chat("only").await.must_be(502, "UPSTREAM_ERROR");
    }
    assert_eq!(failing.calls(), 12, "each request calls twice");
    breaker_events(&gateway, 1).await;
    failing.tenant.chat("only").await.must_be(502, "UPSTREAM_ERROR");
    assert_eq!(failing.calls(), 14);
    failing.tenant.chat("guarded").await.must(200);
    assert_eq!(failing.calls(), 14);
    // Both targets are of the provider that fails.
    let price = json!({ "provider_id": failing.provider, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    failing.model(&gateway, "both", &["m", "ok"], &[]).await;
    for _ in 0..3 {
        failing.tenant.chat("both").await;
    }
    breaker_events(&gateway, 2).await;
    let before = failing.calls();
    let refused = failing.tenant.chat("both").await;
    assert!(!refused.header("retry-after").is_empty());
    refused.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    assert_eq!(failing.calls(), before + 2, "both are called, in case one answers again");
    // Whoever changes the provider has mended it.
    let path = format!("/v1/admin/providers/{}", failing.provider);
    gateway.operator().patch(&path, &json!({ "timeout_ms": 9000 })).await.must(200);
    failing.upstream.accepts_key(FAILING, &[]);
    failing.tenant.chat("both").await.must(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_is_to_blame_for_opens_no_breaker() {
    let gateway = Gateway::start();
    let failing = Failing::start(&gateway).await;
    failing.upstream.accepts_key(FAILING, &[]);
    failing.model(&gateway, "rejecting", &["reject-400"], &["ok"]).await;
    for _ in 0..12 {
        failing.tenant.chat("rejecting").await.must_be(400, "UPSTREAM_REJECTED");
    }
    assert_eq!(failing.calls(), 12);
    assert_eq!(breaker_events(&gateway, 0).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_failures_to_count_no_breaker_opens() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_FAILURES", "0")]);
    let failing = Failing::start(&gateway).await;
    failing.must_serve(15).await;
    assert_eq!(failing.calls(), 30);
    assert_eq!(breaker_events(&gateway, 0).await, Vec::<Value>::new());
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_one_node_opens_is_open_on_the_others_within_a_second() {
    let cluster = Cluster::start(&[("LEDGERWAY_BREAKER_SECONDS", "600")]);
    let failing = Failing::start(cluster.node(0)).await;
    failing.must_serve(3).await;
    let opened = breaker_events(cluster.node(0), 1).await;
    let began = Instant::now();
    for number in 1..3 {
        while open_breakers(cluster.node(number)).await != "1" {
            // A second, on a machine that does nothing else.
            assert!(began.elapsed() < Duration::from_secs(5), "node {number} has not heard of {opened:?}");
            sleep(Duration::from_millis(20)).await;
        }
        let app = cluster.node(number).client(Some(&failing.tenant.secret));
        let before = failing.calls();
        app.post(NATIVE, &failing.tenant.ask("guarded")).await.must(200);
        assert_eq!(failing.calls(), before);
    }
}

/// Ten requests at once: the target is slow, so that they meet its probe.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_one_tries_a_target_whose_time_is_over() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "6")]);
    let failing = Failing::start(&gateway).await;
    let price = json!({ "provider_id": failing.provider, "model": "slow-3000", "input_usd_per_mtok": "3",
                        "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    failing.model(&gateway, "slow", &["slow-3000"], &["ok"]).await;
    for _ in 0..3 {
        failing.tenant.chat("slow").await.must(200);
    }
    breaker_events(&gateway, 1).await;
    failing.upstream.accepts_key(FAILING, &[]);
    sleep(Duration::from_secs(SECONDS)).await;
    let before = failing.calls();
    let mut asked = JoinSet::new();
    for _ in 0..10 {
        let (app, body) = (failing.tenant.app.clone(), failing.tenant.ask("slow"));
        asked.spawn(async move { app.post(NATIVE, &body).await.must(200) });
    }
    asked.join_all().await;
    assert_eq!(failing.calls(), before + 1);
}

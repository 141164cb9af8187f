//! Which target of a model is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, Seen};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

const ASKED: usize = 120;

async fn weighted(gateway: &Gateway, tenant: &Tenant, name: &str, backends: [(&str, u32); 2]) {
    let target = |(backend, weight): (&str, u32)| {
        json!({ "provider_id": tenant.provider, "model": backend, "weight": weight,
                "max_output_tokens": 64 })
    };
    let targets: Vec<_> = backends.into_iter().map(target).collect();
    let model = json!({ "name": tenant.model(name), "strategy": "weighted", "targets": targets });
    made(gateway.operator(), "/models", model).await;
}

/// Holds: admin.strategies
#[tokio::test(flavor = "multi_thread")]
async fn weights_share_out_the_requests_and_a_target_that_fails_is_made_up_for() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "e500"]).await;
    weighted(&gateway, &tenant, "shared", [("ok", 3), ("slow-1", 1)]).await;
    let mut heavier = 0;
    for _ in 0..ASKED {
        let backend = tenant.chat("shared").await.must(200).headers["x-ledgerway-backend"].clone();
        heavier += usize::from(backend == format!("{}/ok", tenant.name));
    }
    // Three of four; the bounds are five standard deviations away.
    assert!((66..=114).contains(&heavier), "{heavier} of {ASKED}");

    weighted(&gateway, &tenant, "limping", [("e500", 9), ("ok", 1)]).await;
    for _ in 0..10 {
        tenant.chat("limping").await.must(200);
    }
    let failed = tenant.events_of(&gateway, &["inference.attempt_failed"]).await;
    assert!(!failed.is_empty(), "the heavier target was never asked");
}

/// A large body is written off the connection thread, anew for each call.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_reaches_the_target_after_the_one_that_fails() {
    for kind in ["openai", "anthropic"] {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let setup = Setup { kind, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &["e500", "ok"], setup).await;
        weighted(&gateway, &tenant, "limping", [("e500", 1), ("ok", 0)]).await;
        let mut body = tenant.ask("limping");
        body["messages"][0]["content"] = json!("a line\n".repeat(100_000));
        tenant.app.post(OPENAI, &body).await.must(200);
        let seen = upstream.seen();
        assert!(seen.len() >= 2, "the target that fails was asked first");
        for call in seen {
            assert!(call.body.to_string().contains(&"a line\\n".repeat(100_000)), "{}", call.model());
        }
    }
}

/// The model of a tenant with a strategy, and these targets of its provider.
async fn model(gateway: &Gateway, tenant: &Tenant, name: &str, strategy: &str, targets: Value) -> String {
    let body = json!({ "name": tenant.model(name), "strategy": strategy, "targets": targets });
    made(gateway.operator(), "/models", body).await
}

/// The backends that serve requests for a model, and what the last one says of its route.
async fn routed(gateway: &Gateway, tenant: &Tenant, name: &str, requests: usize) -> (Vec<String>, Value) {
    let (mut backends, mut last) = (Vec::new(), String::new());
    for _ in 0..requests {
        let reply = tenant.chat(name).await.must(200);
        last = reply.request_id();
        let backend = reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned();
        backends.push(backend);
    }
    let explained = gateway.operator().get(&format!("/v1/inferences/{last}/explain")).await.must(200).json();
    assert_eq!(explained["route"]["follows"], true, "{explained}");
    (backends, explained["route"].clone())
}

/// Holds: admin.strategies
#[tokio::test(flavor = "multi_thread")]
async fn the_cheapest_the_fastest_and_the_best_target_serve_by_these_strategies() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2000"]).await;
    let cheap = json!({ "provider_id": tenant.provider, "model": "slow-2", "input_usd_per_mtok": "1",
                        "output_usd_per_mtok": "5" });
    made(gateway.operator(), "/prices", cheap).await;
    let target = |backend: &str, quality: u32| {
        json!({ "provider_id": tenant.provider, "model": backend, "quality": quality,
                "default_max_output_tokens": 64 })
    };
    let targets = json!([target("ok", 10), target("slow-1", 90), target("slow-2", 10)]);
    model(&gateway, &tenant, "cost", "cost", targets.clone()).await;
    let (backends, route) = routed(&gateway, &tenant, "cost", 3).await;
    assert_eq!(backends, ["slow-2"; 3]);
    assert!(
        route["targets"][0]["reason"].as_str().is_some_and(|reason| reason.starts_with("expected cost 0.")),
        "{route}"
    );
    model(&gateway, &tenant, "quality", "quality", targets.clone()).await;
    let (backends, route) = routed(&gateway, &tenant, "quality", 3).await;
    assert_eq!(backends, ["slow-1"; 3]);
    let reasons: Vec<&str> = (0..3).filter_map(|at| route["targets"][at]["reason"].as_str()).collect();
    assert_eq!(reasons, ["quality 90", "quality 10", "quality 10"], "the cheaper of equals is the second");
    assert_eq!(route["targets"][1]["model"], "slow-2");

    let two = json!([target("slow-2000", 0), target("ok", 0)]);
    let id = model(&gateway, &tenant, "fast", "performance", two).await;
    let shown = gateway.operator().get(&format!("/v1/admin/models/{id}")).await.must(200).json();
    assert_eq!(shown["strategy"], "latency");
    let (backends, route) = routed(&gateway, &tenant, "fast", 50).await;
    let slow = backends.iter().filter(|backend| *backend == "slow-2000").count();
    assert!(slow <= 5, "once both are measured, the faster one serves: {backends:?}");
    assert!(backends.ends_with(&["ok".to_owned(), "ok".to_owned()]), "{backends:?}");
    assert_eq!(route["strategy"], "latency");
    model(&gateway, &tenant, "balanced", "balanced", targets).await;
    routed(&gateway, &tenant, "balanced", 6).await;
}

/// Holds: admin.strategies
#[tokio::test(flavor = "multi_thread")]
async fn targets_of_a_higher_priority_number_wait_for_all_of_a_lower_one_whatever_they_weigh() {
    // One that is left alone is no longer in the order.
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_FAILURES", "0")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e503", "slow-1"]).await;
    let target = |backend: &str, priority: u32, weight: u32| {
        json!({ "provider_id": tenant.provider, "model": backend, "priority": priority, "weight": weight,
                "default_max_output_tokens": 64 })
    };
    let targets = json!([target("slow-1", 1, 900), target("ok", 0, 1), target("e503", 0, 1)]);
    model(&gateway, &tenant, "levels", "weighted", targets).await;
    let (backends, route) = routed(&gateway, &tenant, "levels", 12).await;
    assert_eq!(backends, ["ok"; 12], "the other one of its level fails, and the next level is not needed");
    assert_eq!(route["targets"][2]["model"], "slow-1");
}

/// Two targets, how long each takes now, and a model that goes by it.
struct Race {
    gateway: Gateway,
    tenant: Tenant,
    upstream: MockUpstream,
    swift_ms: Arc<AtomicU64>,
}

impl Race {
    /// More than anything takes on a busy machine.
    const STEADY_MS: u64 = 1000;

    async fn new() -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["swift", "steady"]).await;
        let target = |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
        model(&gateway, &tenant, "race", "latency", json!([target("steady"), target("swift")])).await;
        let swift_ms = Arc::<AtomicU64>::default();
        let of_swift = Arc::clone(&swift_ms);
        upstream.on_request(move |seen: Seen| {
            let ms = if seen.model() == "swift" { of_swift.load(Ordering::SeqCst) } else { Self::STEADY_MS };
            tokio::time::sleep(Duration::from_millis(ms))
        });
        Self { gateway, tenant, upstream, swift_ms }
    }

    fn swift_takes(&self, ms: u64) {
        self.swift_ms.store(ms, Ordering::SeqCst);
    }

    /// How many of these requests, half of them streamed, are sent to the target `swift`.
    async fn to_swift(&self, requests: usize) -> usize {
        let before = self.upstream.seen_of("swift");
        for number in 0..requests {
            if number % 2 == 0 {
                self.tenant.chat("race").await.must(200);
            } else {
                self.tenant.stream(NATIVE, "race").await.rest().await;
            }
        }
        self.upstream.seen_of("swift") - before
    }
}

/// Holds: inf.latency
#[tokio::test(flavor = "multi_thread")]
async fn the_faster_target_is_found_within_fifty_requests_and_again_within_a_minute_after_it_was_slow() {
    let mut race = Race::new().await;
    race.to_swift(50).await;
    let fast = race.to_swift(50).await;
    assert!(fast >= 45, "{fast} of 50 go to the faster target");

    race.swift_takes(3 * Race::STEADY_MS);
    let slow = race.to_swift(10).await;
    assert!((1..=2).contains(&slow), "{slow} of 10 go to the target that has become slow");

    race.swift_takes(0);
    let recovered = Instant::now();
    // As long as nothing is known of it but how slow it was, the other one serves.
    while race.to_swift(2).await < 2 {
        assert!(recovered.elapsed() < Duration::from_secs(60), "it does not come back");
    }
    let fast = race.to_swift(50).await;
    assert!(fast >= 45, "{fast} of 50 go to the faster target after {:?}", recovered.elapsed());
    assert!(recovered.elapsed() < Duration::from_secs(60), "after {:?}", recovered.elapsed());
    println!("back within {:?}", recovered.elapsed());
    race.gateway.stop();
    let (code, words) = race.gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

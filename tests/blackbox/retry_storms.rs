//! Many calls that fail at once: how often they are repeated, and where.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::abandoned::metric;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, Tenant, made};

const FORBIDDEN: &str = "ledgerway_retries_forbidden_total";
const BUSY: &str = r#"{"error":{"message":"too many requests","type":"rate_limit_error"}}"#;
/// Requests of the storm, and how many are under way at a time.
const STORM: usize = 400;
const AT_ONCE: usize = 8;
/// Calls of one tenant in the place of others that may fail at a provider without other calls within ten seconds: two thirds of all.
pub const BUDGET: usize = 67;

/// A provider, which the upstream tells from others by its key.
async fn provider(gateway: &Gateway, upstream: &MockUpstream, name: &str) -> String {
    let provider = json!({
        "name": name, "kind": "openai", "base_url": upstream.base_url("openai"), "api_key": format!("key-of-{name}"),
        "allow_private_network": true,
    });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    provider
}

fn of_type<'e>(log: &'e [Value], wanted: &'e str) -> impl Iterator<Item = &'e Value> {
    log.iter().filter(move |event| type_of(event) == wanted)
}

/// Both targets say that they are busy, which opens no breaker.
///
/// Holds: inf.retry-budget
#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_a_provider_gets_its_budget_of_further_calls_and_others_still_answer() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let first = provider(&gateway, &upstream, "first").await;
    let second = provider(&gateway, &upstream, "second").await;
    for name in ["first", "second"] {
        upstream.refuses_key(&format!("key-of-{name}"), 429, BUSY, &[]);
    }
    let target = |provider: &str, model: &str, priority: u32| json!({ "provider_id": provider, "model": model, "priority": priority, "default_max_output_tokens": 64 });
    let both = [target(&first, "m", 0), target(&second, "m", 1)];
    made(gateway.operator(), "/models", json!({ "name": tenant.model("both"), "targets": both })).await;
    let [first_target, second_target] = both;
    let three = [first_target, second_target, target(&tenant.provider, "ok", 2)];
    made(gateway.operator(), "/models", json!({ "name": tenant.model("three"), "targets": three })).await;

    let began = Instant::now();
    let storm = stream::iter(0..STORM).map(|_| tenant.chat("both")).buffer_unordered(AT_ONCE);
    storm.for_each(|reply| async move { drop(reply.must_be(429, "RATE_LIMITED")) }).await;
    // Another tenant has a share of its own.
    let (other, before) = (Tenant::new(&gateway, &upstream, &[]).await, upstream.seen_with("key-of-second"));
    other.app.post(NATIVE, &tenant.ask("both")).await.must_be(429, "RATE_LIMITED");
    assert_eq!(upstream.seen_with("key-of-second"), before + 1);
    // Who has a third target sees nothing of it.
    for _ in 0..20 {
        let reply = tenant.chat("three").await.must(200);
        assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
    }
    let windows = 1 + usize::try_from(began.elapsed().as_secs()).expect("a number") / 9;

    let calls = ["key-of-first", "key-of-second"].map(|key| upstream.seen_with(key));
    assert_eq!(calls[0], STORM + 21, "first calls are never forbidden");
    assert!((BUDGET..(BUDGET + 2 * AT_ONCE) * windows).contains(&calls[1]), "{calls:?} in {:?}", began.elapsed());
    let forbidden = usize::try_from(metric(&gateway, FORBIDDEN).await).expect("a number");
    assert_eq!(calls[1] + forbidden, STORM + 21);
    let log = gateway.events().await;
    let passed_over = json!({ format!("{second}/m"): ["retry_budget"] });
    let ends = |wanted: &'static str| {
        let ends = of_type(&log, wanted).filter(|event| event["data"].get("passed_over").is_some());
        ends.inspect(|end| assert_eq!(end["data"]["passed_over"], passed_over)).collect::<Vec<_>>()
    };
    let (failed, completed) = (ends("inference.failed.v1"), ends("inference.completed.v1"));
    assert_eq!(failed.len() + completed.len(), forbidden);
    let request = failed[0]["request_id"].as_str().expect("a request");
    let route = gateway.operator().get(&format!("/v1/inferences/{request}/explain")).await.must(200).json();
    let route = &route["route"];
    assert_eq!((&route["follows"], &route["targets"][1]["passed_over"]), (&json!(true), &json!(["retry_budget"])));
    assert_eq!(route["targets"][0].get("passed_over"), None);
    let told = gateway.operator().get(&format!("/v1/inferences/{request}")).await.must(200).json()["route"].clone();
    let passed_over =
        "second/m was passed over: too many calls to its provider had followed failed ones in the last seconds.";
    assert!(told["in_words"].as_str().is_some_and(|told| told.contains(passed_over)), "{told}");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: inf.retries
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_says_when_to_come_back_gets_two_more_calls_only_if_no_other_is_left() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e429-1", "e429-2", "e429-3", "ok"]).await;
    tenant.add_model("replaced", &["e429-2", "ok"]).await;
    for (model, status, backend, calls, least) in [
        ("e429-1", 429, "e429-1", 3, 2),
        ("e429-2", 429, "e429-2", 3, 4),
        ("e429-3", 429, "e429-3", 1, 0),
        ("replaced", 200, "e429-2", 1, 0),
    ] {
        upstream.forget();
        let began = Instant::now();
        tenant.app.post(NATIVE, &tenant.ask(model)).await.must(status);
        assert_eq!(upstream.seen_of(backend), calls, "{model}");
        assert!(began.elapsed() >= Duration::from_secs(least), "{model}");
    }
}

/// The target's breaker is open soon, but it is the only one.
///
/// Holds: inf.retry-budget
#[tokio::test(flavor = "multi_thread")]
async fn other_tries_at_a_target_take_from_the_budget_of_its_provider() {
    const REQUESTS: usize = 200;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500"]).await;
    let storm = stream::iter(0..REQUESTS).map(|_| tenant.chat("e500")).buffer_unordered(16);
    storm.for_each(|reply| async move { assert!(reply.status >= 500, "{reply:?}") }).await;
    let forbidden = usize::try_from(metric(&gateway, FORBIDDEN).await).expect("a number");
    assert!(forbidden > 0);
    assert_eq!(upstream.seen_of("e500") + forbidden, 2 * REQUESTS);
    let log = gateway.events().await;
    let passed_over = json!({ format!("{}/e500", tenant.provider): ["retry_budget"] });
    let ends = of_type(&log, "inference.failed.v1").filter(|end| end["data"].get("passed_over") == Some(&passed_over));
    assert_eq!(ends.count(), forbidden);
}

/// Holds: inf.retry-budget
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_fails_by_the_clients_mistake_takes_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["reject-400"]).await;
    let first = provider(&gateway, &upstream, "first").await;
    upstream.refuses_key("key-of-first", 429, BUSY, &[]);
    let targets = json!([
        { "provider_id": first, "model": "m", "priority": 0, "default_max_output_tokens": 64 },
        { "provider_id": tenant.provider, "model": "reject-400", "priority": 1, "default_max_output_tokens": 64 },
    ]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("both"), "targets": targets })).await;
    let storm = stream::iter(0..2 * BUDGET).map(|_| tenant.chat("both")).buffer_unordered(AT_ONCE);
    storm.for_each(|reply| async move { drop(reply.must_be(400, "UPSTREAM_REJECTED")) }).await;
    assert_eq!((upstream.seen_of("reject-400"), metric(&gateway, FORBIDDEN).await), (2 * BUDGET, 0));
}

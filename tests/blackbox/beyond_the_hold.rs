//! Where a provider's bill can be higher than what was held, row by row of the page on budgets: what is charged then, and
//! where it shows.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::nano;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

/// Returns one request's failed attempts, its outcome, and the end of its hold.
async fn ended(gateway: &Gateway, request: &str) -> (usize, Value, Value) {
    let mut life = gateway.life(request).await;
    // Corrections come after the end.
    life.retain(|event| type_of(event) != "budget.adjusted.v1");
    let attempts = life.iter().filter(|event| type_of(event) == "inference.attempt_failed.v1").count();
    let end = life.pop().expect("an end");
    (attempts, life.pop().expect("an outcome"), end)
}

fn charged(end: &Value) -> i64 {
    nano(&end["data"]["charged_usd"])
}

/// At the prices of the tests' tenants.
const fn cost(tokens_in: i64, tokens_out: i64) -> i64 {
    1_000_000 + tokens_in * 3_000 + tokens_out * 15_000
}

/// Output beyond the cap of 256 tokens, and input beyond the bytes of the prompt.
///
/// Holds: event.overrun
#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_above_the_bounds_is_charged_named_and_stops_new_holds() {
    for (model, tokens_in, tokens_out) in [("usage-12-2000-2012", 12, 2000), ("usage-30000-9-30009", 30_000, 9)] {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let setup = Setup { limit_usd: "0.02", ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &[model], setup).await;
        let request = tenant.chat(model).await.must(200).request_id();
        let (_, _, end) = ended(&gateway, &request).await;
        let overrun = charged(&end) - nano(&end["data"]["held_usd"]);
        assert_eq!((charged(&end), nano(&end["data"]["overrun_usd"])), (cost(tokens_in, tokens_out), overrun));
        assert!(overrun > 0, "{end}");
        assert!(charged(&end) > 20_000_000, "above the limit: {end}");
        tenant.chat(model).await.must_be(429, "BUDGET_EXCEEDED");
        gateway.books().await;
    }
}

/// The mock worked for each of them as far as anybody knows, and may bill each.
///
/// Holds: event.failed-calls-are-free
#[tokio::test(flavor = "multi_thread")]
async fn of_calls_that_fail_none_is_charged_however_much_of_the_request_the_upstream_has_seen() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let failing = ["hang", "close", "cut", "html", "halfjson", "e500"];
    let setup = Setup { timeout_ms: 700, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &[&failing[..], &["ok"]].concat(), setup).await;
    for model in failing {
        let before = upstream.seen_of(model);
        let refused = tenant.chat(model).await;
        assert!((502..=504).contains(&refused.status), "{model}: {}", refused.status);
        let (attempts, outcome, end) = ended(&gateway, &refused.request_id()).await;
        assert_eq!((type_of(&outcome), type_of(&end)), ("inference.failed.v1", "budget.released.v1"), "{model}");
        assert_eq!(attempts, upstream.seen_of(model) - before, "{model}");
        // Once more where it said that it could not, and not where it may have worked.
        assert_eq!(attempts, if model == "e500" { 2 } else { 1 }, "{model}");
    }
    tenant.add_model("all", &[&failing[..], &["ok"]].concat()).await;
    let request = tenant.chat("all").await.must(200).request_id();
    let (attempts, _, end) = ended(&gateway, &request).await;
    assert_eq!((attempts, charged(&end)), (failing.len() + 1, cost(12, 9)));
    gateway.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_answer_that_broke_off_a_quarter_of_the_bytes_that_went_through_is_charged() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["cut"]).await;
    let stream = tenant.stream(OPENAI, "cut").await;
    let request = stream.request_id();
    stream.rest().await;
    let (_, outcome, end) = ended(&gateway, &request).await;
    let usage = &outcome["data"]["usage"];
    // "The quick brown", and a prompt of nothing but "hello" in its JSON.
    assert_eq!((&usage["source"], &usage["output_text_tokens"]), (&json!("counted"), &json!(4)), "{outcome}");
    let tokens_in = usage["input_uncached_tokens"].as_i64().expect("tokens");
    let bound = gateway.life(&request).await[0]["data"]["input_tokens_bound"].as_i64().expect("a bound");
    assert_eq!((tokens_in, charged(&end)), ((bound + 3) / 4, cost(tokens_in, 4)));
}

/// A request that waits at the upstream while something changes.
async fn while_it_runs(change: impl AsyncFnOnce(&Gateway, &Tenant)) -> (Gateway, Tenant, String) {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["gate"]).await;
    let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
    let mut running = JoinSet::new();
    running.spawn(async move { app.post(NATIVE, &body).await });
    while upstream.seen_of("gate") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    change(&gateway, &tenant).await;
    upstream.open_gate();
    let request = running.join_next().await.expect("an answer").expect("no panic").must(200).request_id();
    (gateway, tenant, request)
}

/// Holds: event.versions
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_changes_while_a_request_runs_is_not_its_price() {
    let (gateway, _, request) = while_it_runs(async |gateway, _| {
        let prices = gateway.operator().get("/v1/admin/prices").await.must(200).json();
        let one = format!("/v1/admin/prices/{}", prices["items"][0]["id"].as_str().expect("an id"));
        gateway.operator().patch(&one, &json!({ "output_usd_per_mtok": "1500" })).await.must(200);
    })
    .await;
    let (_, outcome, end) = ended(&gateway, &request).await;
    assert_eq!(charged(&end), cost(12, 9));
    let admitted = &gateway.life(&request).await[0]["data"]["versions"]["prices"];
    assert!(admitted.as_object().expect("prices").values().any(|version| *version == outcome["data"]["price_version"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_while_a_request_runs_stops_new_ones_and_not_that_one() {
    let (gateway, tenant, request) = while_it_runs(async |_, tenant| tenant.set_limit("0.000001").await).await;
    let (_, _, end) = ended(&gateway, &request).await;
    assert_eq!((charged(&end), end["data"].get("overrun_usd")), (cost(12, 9), None));
    let budget = gateway.budget(&tenant.budget).await;
    assert!(nano(&budget["settled_usd"]) > nano(&budget["limit_usd"]), "{budget}");
    tenant.chat("gate").await.must_be(429, "BUDGET_EXCEEDED");
    gateway.books().await;
}

//! Prices that are corrected after requests were charged by them: each request ends up with the value that follows from its tokens,
//! whatever interrupts the gateway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::random::SplitMix64;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{nano, usd};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

/// Nano-dollars per token, and per request.
#[derive(Clone, Copy)]
struct Rates {
    input: i64,
    cache_read: i64,
    output: i64,
    reasoning: i64,
    request: i64,
}

/// Those of [`Tenant::price`].
const FIRST: Rates = Rates { input: 3_000, cache_read: 300, output: 15_000, reasoning: 20_000, request: 1_000_000 };
const CORRECTED: Rates = Rates { input: 2_500, cache_read: 250, output: 10_000, reasoning: 12_000, request: 500_000 };
const DEARER: Rates = Rates { input: 9_000, cache_read: 900, output: 45_000, reasoning: 60_000, request: 0 };

impl Rates {
    fn body(self) -> Value {
        let per_mtok = |nanos: i64| json!(usd(nanos * 1_000_000));
        json!({
            "input_usd_per_mtok": per_mtok(self.input), "cache_read_usd_per_mtok": per_mtok(self.cache_read),
            "output_usd_per_mtok": per_mtok(self.output), "reasoning_usd_per_mtok": per_mtok(self.reasoning),
            "request_usd": usd(self.request),
        })
    }

    fn cost(self, usage: &Value) -> i64 {
        let tokens = |class: &str| usage[class].as_i64().unwrap_or(0);
        assert_eq!(tokens("input_cache_write_tokens"), 0, "no test has a price for it: {usage}");
        tokens("input_uncached_tokens") * self.input
            + tokens("input_cache_read_tokens") * self.cache_read
            + tokens("output_text_tokens") * self.output
            + tokens("output_reasoning_tokens") * self.reasoning
            + self.request
    }
}

/// The log's record of a request's charge.
#[derive(Clone, Debug, Default)]
struct Charged {
    admitted_at: String,
    usage: Value,
    settled: i64,
    deltas: Vec<i64>,
}

/// The requests that were settled, with their corrections.
async fn charged(gateway: &Gateway) -> BTreeMap<String, Charged> {
    let mut requests: BTreeMap<String, Charged> = BTreeMap::new();
    for event in gateway.events().await {
        let Some(request) = event["request_id"].as_str() else { continue };
        let charged = requests.entry(request.to_owned()).or_default();
        match type_of(&event) {
            "inference.admitted.v1" => charged.admitted_at = text(&event["recorded_at"]),
            "inference.completed.v1" => charged.usage = event["data"]["usage"].clone(),
            "budget.settled.v1" => charged.settled = nano(&event["data"]["charged_usd"]),
            "budget.adjusted.v1" => {
                assert_eq!(event["data"]["reason"], "price_corrected", "{event}");
                assert_eq!(event["actor"], "system:revaluation", "{event}");
                charged.deltas.push(nano(&event["data"]["delta_usd"]));
            }
            _ => {}
        }
    }
    // Changes of administration have a request, too.
    requests.retain(|_, charged| !charged.usage.is_null());
    requests
}

async fn price_of(tenant: &Tenant, gateway: &Gateway, backend: &str) -> String {
    let path = format!(
        "/v1/admin/prices?provider_id={}&model={backend}&min_position={}",
        tenant.provider,
        gateway.head().await
    );
    text(&gateway.operator().get(&path).await.must(200).json()["items"][0]["id"])
}

async fn change(gateway: &Gateway, price: &str, change: &Value) -> Value {
    gateway.operator().patch(&format!("/v1/admin/prices/{price}"), change).await.must(200).json()
}

/// Waits until the budget has settled this much.
async fn settles(gateway: &Gateway, budget: &str, nanos: i64) {
    let (started, wanted) = (Instant::now(), usd(nanos));
    loop {
        let settled = gateway.budget(budget).await["settled_usd"].clone();
        if settled == json!(wanted) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{settled} are settled, not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn must_be_sound(gateway: &mut Gateway) {
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: admin.price-corrections
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_corrected_re_values_what_was_charged_by_it() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "cached", "other"]).await;
    for _ in 0..3 {
        tenant.chat("ok").await.must(200);
    }
    let streamed = tenant.stream(OPENAI, "ok").await;
    streamed.rest().await;
    let other = tenant.chat("other").await.must(200).json();
    let price = price_of(&tenant, &gateway, "ok").await;
    let first = charged(&gateway).await;
    let is_other = |request: &str| Some(request) == other["request_id"].as_str();
    let sum = |rates: Rates| -> i64 {
        first.iter().map(|(id, charged)| if is_other(id) { charged.settled } else { rates.cost(&charged.usage) }).sum()
    };
    assert_eq!(first.values().map(|charged| charged.settled).sum::<i64>(), sum(FIRST), "before any correction");
    let reply = change(&gateway, &price, &CORRECTED.body()).await;
    assert_eq!(reply["input_usd_per_mtok"], "2.500000000", "the reply is that of a change: {reply}");
    settles(&gateway, &tenant.budget, sum(CORRECTED)).await;
    let path = format!("/v1/usage?tenant={}&min_position={}", tenant.id, gateway.head().await);
    let usage = gateway.operator().get(&path).await.must(200).json();
    assert_eq!(usage["items"][0]["cost_usd"], usd(sum(CORRECTED)), "{usage}");
    assert_eq!(nano(&usage["items"][0]["adjusted_usd"]), sum(CORRECTED) - sum(FIRST), "{usage}");
    // It is counted where its request was, also within parts of hours.
    for part in
        ["", "&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", "&from=2020-01-01T00:10:00Z&to=2100-01-01T00:10:00Z"]
    {
        let path = format!("{path}&group_by=payer,model,backend{part}");
        let usage = gateway.operator().get(&path).await.must(200).json();
        let of_ok = usage["items"].as_array().expect("rows").iter().filter(|row| row["model"] == other["model"]);
        assert_eq!(of_ok.count(), 1, "{usage}");
        assert_eq!(nano(&usage["totals"]["adjusted_usd"]), sum(CORRECTED) - sum(FIRST), "{usage}");
        assert_eq!(usage["items"].as_array().map(Vec::len), Some(2), "{usage}");
        assert!(usage["items"].as_array().expect("rows").iter().all(|row| row["payer"] == "brokered"), "{usage}");
    }
    // A correction of a correction, after a crash that comes with it.
    change(&gateway, &price, &DEARER.body()).await;
    gateway.kill();
    gateway.start_again();
    settles(&gateway, &tenant.budget, sum(DEARER)).await;
    let prices = gateway.events().await;
    let changes: Vec<_> = prices.iter().filter(|event| type_of(event) == "price.changed.v1").collect();
    for (request, charged) in charged(&gateway).await {
        let path = format!("/v1/inferences/{request}?min_position={}", gateway.head().await);
        let shown = gateway.operator().get(&path).await.must(200).json();
        if is_other(&request) {
            assert!(charged.deltas.is_empty() && shown["adjustments"] == json!([]), "another model: {shown}");
            continue;
        }
        let (before, between, now) =
            (FIRST.cost(&charged.usage), CORRECTED.cost(&charged.usage), DEARER.cost(&charged.usage));
        assert_eq!((charged.settled, &*charged.deltas), (before, &*vec![between - before, now - between]), "{request}");
        assert_eq!(shown["cost_usd"], usd(now), "{shown}");
        assert_eq!(shown["settlement"]["charged_usd"], usd(before), "{shown}");
        let corrections = shown["adjustments"].as_array().expect("a list");
        let last = &corrections[1]["price"];
        assert_eq!((&last["version"], &last["cost_usd"]), (&changes[1]["position"], &json!(usd(now))), "{shown}");
        assert_eq!(corrections[0]["price"]["version"], changes[0]["position"], "{shown}");
    }
    gateway.books().await;
    must_be_sound(&mut gateway).await;
}

/// Holds: admin.price-corrections
#[tokio::test(flavor = "multi_thread")]
async fn a_price_entered_with_a_date_in_the_past_re_values_the_requests_since_then() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = tenant.chat("ok").await.must(200).json();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let requests = charged(&gateway).await;
    let second = &requests[second["request_id"].as_str().expect("an id")];
    let mut body = CORRECTED.body();
    body["provider_id"] = json!(tenant.provider);
    body["model"] = json!("ok");
    // Those that begin now or later concern nothing before.
    made(gateway.operator(), "/prices", body.clone()).await;
    body["effective_from"] = json!("2100-01-01T00:00:00Z");
    let announced = made(gateway.operator(), "/prices", body.clone()).await;
    change(&gateway, &announced, &json!({ "input_usd_per_mtok": "77" })).await;
    gateway.operator().delete(&format!("/v1/admin/prices/{announced}")).await.must(200);
    body["effective_from"] = json!(second.admitted_at);
    made(gateway.operator(), "/prices", body).await;
    let wanted: i64 = requests
        .values()
        .map(|charged| {
            let rates = if charged.admitted_at >= second.admitted_at { CORRECTED } else { FIRST };
            rates.cost(&charged.usage)
        })
        .sum();
    settles(&gateway, &tenant.budget, wanted).await;
    let corrected = charged(&gateway).await;
    assert_eq!(corrected.values().map(|charged| charged.deltas.len()).sum::<usize>(), 1);
    must_be_sound(&mut gateway).await;
}

/// Holds: admin.price-revalues-from
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_says_since_when_a_change_of_a_price_re_values_requests() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let price = price_of(&tenant, &gateway, "ok").await;
    let (path, operator) = (format!("/v1/admin/prices/{price}"), gateway.operator().clone());
    let begins = operator.get(&path).await.must(200).json()["effective_from"].clone();
    let none = Value::Null;
    let retried = operator.clone().with("idempotency-key", "corrected");
    let said = retried.patch(&path, &CORRECTED.body()).await.must(200).json();
    assert_eq!(said["revalues_from"], begins, "{said}");
    assert_eq!(change(&gateway, &price, &CORRECTED.body()).await["revalues_from"], none, "nothing is another");
    let earlier = json!("2020-01-01T00:00:00.000000Z");
    let moved = change(&gateway, &price, &json!({ "effective_from": earlier })).await;
    assert_eq!(moved["revalues_from"], earlier, "{moved}");
    let again = retried.patch(&path, &CORRECTED.body()).await.must(200).json();
    assert_eq!(again, said, "the reply to a retry");
    assert_eq!(operator.get(&path).await.must(200).json().get("revalues_from"), None, "only a change has it");
    let body = |model: &str, from: Option<&str>| {
        let mut body = CORRECTED.body();
        (body["provider_id"], body["model"]) = (json!(tenant.provider), json!(model));
        body["effective_from"] = json!(from);
        body
    };
    let past = Some("2021-01-01T00:00:00.000000Z");
    for (model, from, revalues_from) in [
        ("ok", past, json!(past)),
        ("ok", None, none.clone()),
        ("ok", Some("2100-01-01T00:00:00Z"), none.clone()),
        // The first price of a backend: nothing was sent there. Then another one.
        ("new", past, none.clone()),
        ("new", past, json!(past)),
    ] {
        let made = operator.post("/v1/admin/prices", &body(model, from)).await.must(201).json();
        assert_eq!(made["revalues_from"], revalues_from, "{model}, {from:?}: {made}");
    }
    let ended = operator.delete(&path).await.must(200).json();
    assert_eq!(ended.get("revalues_from"), None, "{ended}");
}

/// A request that runs while its price is corrected is charged as it was admitted, and corrected when it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_at_the_change_is_corrected_when_it_has_ended() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["slow-1500"]).await;
    let price = price_of(&tenant, &gateway, "slow-1500").await;
    let (app, body) = (tenant.app.clone(), tenant.ask("slow-1500"));
    let mut running = JoinSet::new();
    running.spawn(async move { app.post(NATIVE, &body).await.must(200).json() });
    while upstream.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    change(&gateway, &price, &CORRECTED.body()).await;
    let answer = running.join_all().await.remove(0);
    assert_eq!(nano(&answer["cost_usd"]), FIRST.cost(&answer["usage"]), "{answer}");
    settles(&gateway, &tenant.budget, CORRECTED.cost(&answer["usage"])).await;
    must_be_sound(&mut gateway).await;
}

/// The short form of `benches/revaluation`: some thousand requests, and a gateway that is killed while it corrects them.
///
/// Holds: event.revaluation
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_corrects_it_corrects_each_request_once() {
    const REQUESTS: usize = 2_000;
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { limit_usd: "1000", ..Setup::default() }).await;
    let price = price_of(&tenant, &gateway, "ok").await;
    let mut loads = JoinSet::new();
    for _ in 0..8 {
        let (app, body) = (tenant.app.clone(), tenant.ask("ok"));
        loads.spawn(async move {
            for _ in 0..REQUESTS / 8 {
                app.post(NATIVE, &body).await.must(200);
            }
        });
    }
    loads.join_all().await;
    change(&gateway, &price, &CORRECTED.body()).await;
    for pause in [5, 60, 120] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        gateway.kill();
        gateway.start_again();
    }
    change(&gateway, &price, &DEARER.body()).await;
    let before = charged(&gateway).await;
    let sum = |rates: Rates| before.values().map(|charged| rates.cost(&charged.usage)).sum::<i64>();
    settles(&gateway, &tenant.budget, sum(DEARER)).await;
    let started = Instant::now();
    let revalued = loop {
        let revalued = gateway.events_of("price.revalued.v1").await;
        if revalued.len() == 2 {
            break revalued;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "{revalued:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let path = format!("/v1/audit?action=price.revalued&min_position={}", gateway.head().await);
    let audit = gateway.operator().get(&path).await.must(200).json();
    for entry in audit["items"].as_array().expect("a list") {
        assert_eq!(entry["resource"], format!("price/{price}"), "{entry}");
    }
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(2), "{audit}");
    let after = charged(&gateway).await;
    assert_eq!(after.len(), REQUESTS);
    for (request, charged) in &after {
        let corrected = charged.settled + charged.deltas.iter().sum::<i64>();
        assert_eq!(corrected, DEARER.cost(&charged.usage), "{request}: {charged:?}");
        assert!(charged.deltas.len() <= 2, "{request}: {charged:?}");
    }
    let corrections: usize = after.values().map(|charged| charged.deltas.len()).sum();
    let said: u64 = revalued.iter().map(|event| event["data"]["requests"].as_u64().expect("a number")).sum();
    assert_eq!(said, u64::try_from(corrections).expect("few"));
    let delta: i64 = revalued.iter().map(|event| nano(&event["data"]["delta_usd"])).sum();
    assert_eq!(delta, sum(DEARER) - sum(FIRST), "exactly the difference");
    gateway.books().await;
    must_be_sound(&mut gateway).await;
}

/// Twenty requests wait at their provider while their price is corrected twice, and announced once; some answers come before a crash.
/// Whatever is answered has the last value, what the crash has cut off keeps the charge of its hold, and both are all of the budget.
async fn must_end_up_with_the_last_value(seed: u64) {
    const REQUESTS: u64 = 20;
    let mut drawn = SplitMix64::new(seed);
    let mut below = move |end: u64| drawn.next_u64() % end;
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "12")]);
    let upstream = MockUpstream::start().await;
    let setup = Setup { limit_usd: "1000", timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate", "ok"], setup).await;
    let price = price_of(&tenant, &gateway, "gate").await;
    let mut announced = DEARER.body();
    announced["provider_id"] = json!(tenant.provider);
    announced["model"] = json!("gate");
    announced["effective_from"] = json!("2100-01-01T00:00:00Z");
    let at = [below(REQUESTS), below(REQUESTS)];
    let (first, second) = (at[0].min(at[1]), at[0].max(at[1]));
    let mut running = JoinSet::new();
    for number in 0..REQUESTS {
        let (app, mut body) = (tenant.app.clone(), tenant.ask("gate"));
        if below(2) == 0 {
            body["stream"] = json!(true);
        }
        // The crash may cut it off.
        running.spawn(async move { drop(app.try_post(NATIVE, &body).await) });
        tokio::time::sleep(Duration::from_millis(below(40))).await;
        if number == first {
            change(&gateway, &price, &CORRECTED.body()).await;
        }
        if number == second {
            made(gateway.operator(), "/prices", announced.clone()).await;
            change(&gateway, &price, &DEARER.body()).await;
        }
    }
    let started = Instant::now();
    while upstream.seen_of("gate") < 20 {
        assert!(started.elapsed() < Duration::from_secs(8), "seed {seed}: a request was not sent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let of_other_model = tenant.chat("ok").await.must(200).request_id();
    upstream.open_gate();
    tokio::time::sleep(Duration::from_millis(below(60))).await;
    gateway.kill();
    running.join_all().await;
    gateway.start_again();
    gateway.books_when_all_ended(Duration::from_secs(40)).await;
    let started = Instant::now();
    while gateway.events_of("price.revalued.v1").await.len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(90), "seed {seed}: the changes are not over");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (mut wanted, mut corrections, mut delta) = (0, 0, 0);
    for (request, charged) in charged(&gateway).await {
        let value = if request == of_other_model { FIRST } else { DEARER }.cost(&charged.usage);
        assert_eq!(charged.settled + charged.deltas.iter().sum::<i64>(), value, "seed {seed}, {request}: {charged:?}");
        assert!(charged.deltas.len() <= 2, "seed {seed}, {request}: {charged:?}");
        corrections += charged.deltas.len();
        delta += charged.deltas.iter().sum::<i64>();
        wanted += value;
    }
    let expired = gateway.events_of("budget.expired.v1").await;
    wanted += expired.iter().map(|event| nano(&event["data"]["charged_usd"])).sum::<i64>();
    settles(&gateway, &tenant.budget, wanted).await;
    let revalued = gateway.events_of("price.revalued.v1").await;
    let said: u64 = revalued.iter().filter_map(|event| event["data"]["requests"].as_u64()).sum();
    assert_eq!((revalued.len(), said), (2, corrections as u64), "seed {seed}: {revalued:?}");
    assert_eq!(revalued.iter().map(|event| nano(&event["data"]["delta_usd"])).sum::<i64>(), delta, "seed {seed}");
    gateway.books().await;
    must_be_sound(&mut gateway).await;
}

/// Holds: admin.price-corrections
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_run_while_their_price_is_corrected_and_it_crashes_have_the_last_value() {
    let [first, second, third] = [1, 2, 3].map(must_end_up_with_the_last_value);
    tokio::join!(first, second, third);
}

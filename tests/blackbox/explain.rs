//! `GET /v1/inferences/{id}/explain`: what is recorded of a request follows from the log. What somebody has changed does not: see
//! `explain_forgeries.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{Books, nano, usd};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

pub const PARTS: [&str; 5] = ["life", "admission", "bound", "route", "settlement"];

pub async fn explained(gateway: &Gateway, request: &str) -> Value {
    let head = gateway.head().await;
    gateway.operator().get(&format!("/v1/inferences/{request}/explain?min_position={head}")).await.must(200).json()
}

/// The requests that the log has, in order.
pub fn requests(events: &[Value]) -> Vec<String> {
    let begins = ["inference.admitted.v1", "inference.refused.v1"];
    events.iter().filter(|event| begins.contains(&type_of(event))).map(|event| text(&event["request_id"])).collect()
}

/// Compares what a budget is said to have had with a fold of the log of its own.
fn must_be_what_it_had(said: &Value, events: &[Value]) {
    let before = said["admission"]["decided_before"].as_u64().expect("a position");
    let mut books = Books::default();
    events.iter().take_while(|event| event["position"].as_u64() < Some(before)).for_each(|event| books.take(event));
    for budget in said["admission"]["budgets"].as_array().expect("budgets") {
        let window = (text(&budget["budget_id"]), budget["window_start"].as_str().map(str::to_owned));
        let had = books.balances.get(&window).copied().unwrap_or_default();
        let (settled, held, limit) =
            (nano(&budget["settled_usd"]), nano(&budget["held_usd"]), nano(&budget["limit_usd"]));
        assert_eq!((settled, held), (had.settled, had.held), "{budget} before {before}");
        assert_eq!(nano(&budget["left_usd"]), limit - settled - held, "{budget}");
        let wanted = nano(&said["admission"]["wanted_usd"]);
        assert_eq!(budget["fits"], settled + held + wanted <= limit, "{budget}");
    }
}

#[track_caller]
fn must_follow(said: &Value) {
    assert_eq!(said["follows"], true, "{said:#}");
    for part in PARTS.iter().filter(|part| !said[**part].is_null()) {
        let part = &said[*part];
        assert_eq!(
            (&part["follows"], &part["differences"], &part["undecided"]),
            (&json!(true), &json!([]), &json!([])),
            "{part:#}"
        );
    }
}

/// Holds: query.explain
#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_a_request_all_that_is_recorded_of_it_follows() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { timeout_ms: 1500, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok", "e500", "halfjson", "html", "cut"], setup).await;
    tenant.add_model("second", &["e500", "ok"]).await;
    for (scope, period) in [
        (json!({ "partner_id": tenant.partner }), "month"),
        (json!({ "user_id": tenant.user }), "day"),
        (json!({ "key_id": tenant.key }), "week"),
    ] {
        made(gateway.operator(), "/budgets", json!({ "scope": scope, "limit_usd": "4", "period": period })).await;
    }
    let observing =
        json!({ "scope": { "key_id": tenant.key }, "limit_usd": "0.001", "period": "day", "enforcement": "observe" });
    made(gateway.operator(), "/budgets", observing).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 1000 });
    let limit = made(gateway.operator(), "/rate-limits", limit).await;
    for path in [NATIVE, OPENAI] {
        for model in ["ok", "second", "e500", "halfjson", "html", "cut"] {
            tenant.app.post(path, &tenant.ask(model)).await;
            if let Ok(stream) = tenant.app.stream(path, &tenant.ask_streamed(model)).await {
                stream.rest().await;
            }
        }
    }
    // Targets with a name come first, and weights are drawn by the id of the request.
    let target = |backend: &str, name: Value| json!({ "provider_id": tenant.provider, "model": backend, "name": name, "weight": 1, "max_output_tokens": 64 });
    let targets = [target("ok", Value::Null), target("html", json!("2-second")), target("e500", json!("1-first"))];
    for (name, strategy) in [("named", "priority"), ("drawn", "weighted")] {
        let model = json!({ "name": tenant.model(name), "strategy": strategy, "targets": targets });
        made(gateway.operator(), "/models", model).await;
        for _ in 0..6 {
            tenant.chat(name).await;
        }
    }
    let mut choices = tenant.ask("ok");
    choices["n"] = json!(3);
    let choices = tenant.app.post(OPENAI, &choices).await.must(200).request_id();
    // Both end otherwise than they began: a stream that its client leaves, and a request that is changed by a price.
    let mut left = tenant.stream(OPENAI, "ok").await;
    left.next().await;
    let left_id = left.request_id();
    drop(left);
    tenant.set_limit("0").await;
    let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED").request_id();
    gateway.books_when_all_ended(Duration::from_secs(10)).await;

    let events = gateway.facts().await;
    let all = requests(&events);
    assert!(all.len() > 20 && all.contains(&left_id), "{all:?}");
    for request in &all {
        let said = explained(&gateway, request).await;
        assert_eq!(said["life"]["follows"], true, "{said:#}");
        if *request == choices {
            // The log does not have how many answers were asked for.
            assert_eq!((&said["follows"], &said["bound"]["follows"]), (&Value::Null, &Value::Null), "{said:#}");
        } else if *request != refused {
            must_follow(&said);
        }
        if *request != refused {
            assert_eq!(said["admission"]["decision"], "admitted");
            assert_eq!(said["bound"]["computed_usd"], said["bound"]["held_usd"], "{said:#}");
            assert_eq!(said["admission"]["rate_limits"][0]["limit_id"], limit, "{said:#}");
            assert_eq!(said["admission"]["budgets"].as_array().map(Vec::len), Some(5), "{said:#}");
        }
        must_be_what_it_had(&said, &events);
    }
    let said = explained(&gateway, &choices).await;
    assert_eq!(said["bound"]["choices"], 3);
    let why = said["bound"]["undecided"][0].as_str().expect("a reason");
    assert!(why.contains("asked for 3 answers"), "{why}");
    let said = explained(&gateway, &refused).await;
    must_follow(&said);
    assert_eq!(
        (&said["admission"]["decision"], &said["admission"]["code"]),
        (&json!("refused"), &json!("BUDGET_EXCEEDED"))
    );
    let null = Some(&Value::Null);
    assert_eq!((said.get("bound"), said.get("route"), said.get("settlement")), (null, null, null), "{said:#}");
}

/// Holds: query.explain
#[tokio::test(flavor = "multi_thread")]
async fn the_arithmetic_and_the_order_of_targets_are_shown() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    tenant.add_model("second", &["e500", "ok"]).await;
    let request = tenant.chat("second").await.must(200).request_id();
    let said = explained(&gateway, &request).await;
    must_follow(&said);
    let (bound, route, settled) = (&said["bound"], &said["route"], &said["settlement"]);
    // Three dollars for a million tokens of input, twenty for the dearest output, and a tenth of a cent for the request.
    let count = |name: &str| i64::try_from(bound[name].as_u64().expect("a count")).expect("small");
    let most = 3_000 * count("input_tokens") + 20_000 * count("max_output_tokens") + 1_000_000;
    assert_eq!(bound["computed_usd"], usd(most), "{bound}");
    for target in bound["targets"].as_array().expect("targets") {
        assert_eq!(target["input_usd_per_mtok"], "3.000000000", "{target}");
        assert_eq!(target["output_usd_per_mtok"], "20.000000000", "{target}");
    }
    assert_eq!(route["strategy"], "priority");
    let target =
        |at: usize| (&route["targets"][at]["model"], &route["targets"][at]["rank"], &route["targets"][at]["reason"]);
    assert_eq!(target(0), (&json!("e500"), &json!(1), &json!("priority 0")));
    assert_eq!(target(1), (&json!("ok"), &json!(2), &json!("priority 1")));
    let calls = route["calls"].as_array().expect("calls");
    let (last, failed) = calls.split_last().expect("calls");
    assert!(
        !failed.is_empty() && failed.iter().all(|call| call["model"] == "e500" && call["status"] == 500),
        "{route}"
    );
    assert_eq!((&last["model"], &last["attempt"]), (&json!("ok"), &Value::Null));
    // The items make the cost.
    let call = settled["calls"].as_array().and_then(|calls| calls.last()).expect("a call");
    let item = |item: &Value| {
        let count = i64::try_from(item["count"].as_u64().expect("a count")).expect("small");
        item.get("usd_per_mtok").map_or_else(|| count * nano(&item["usd_each"]) * 1_000_000, |usd| count * nano(usd))
    };
    let sum: i64 = call["items"].as_array().expect("items").iter().map(item).sum();
    assert_eq!(settled["charged_usd"], usd((sum + 999_999) / 1_000_000), "{settled:#}");
}

/// Refusals of one key wait for the next second if there are many, while other requests move the money.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_were_recorded_later_follow_as_of_when_they_were_decided() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Arc::new(Tenant::new(&gateway, &upstream, &["ok"]).await);
    tenant.set_limit("0.2").await;
    let mut dear = tenant.ask("ok");
    dear["n"] = json!(64);
    let mut asked = JoinSet::new();
    for at in 0..80 {
        let (tenant, dear) = (Arc::clone(&tenant), dear.clone());
        asked.spawn(async move {
            match at % 2 {
                0 => tenant.app.post(OPENAI, &dear).await.must(429).status,
                _ => tenant.chat("ok").await.status,
            }
        });
    }
    asked.join_all().await;
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    let events = gateway.facts().await;
    let (mut refused, mut waited) = (0, 0);
    for event in events.iter().filter(|event| type_of(event) == "inference.refused.v1" && event["data"]["count"] == 1) {
        let said = explained(&gateway, &text(&event["request_id"])).await;
        must_follow(&said);
        must_be_what_it_had(&said, &events);
        refused += 1;
        waited += u32::from(said["admission"]["decided_before"] != event["position"]);
    }
    assert!(refused >= 20 && waited > 0, "{waited} of {refused} refusals waited");
}

/// A process that dies, and a price that is corrected.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_expired_and_one_that_was_corrected_follow() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "stall"]).await;
    let corrected = tenant.chat("ok").await.must(200).request_id();
    let lost = tenant.stream(OPENAI, "stall").await;
    let lost_id = lost.request_id();
    gateway.kill();
    drop(lost);
    gateway.start_again();
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let prices = gateway.operator().get("/v1/admin/prices").await.must(200).json();
    let price = prices["items"]
        .as_array()
        .and_then(|prices| prices.iter().find(|price| price["model"] == "ok"))
        .expect("a price");
    let path = format!("/v1/admin/prices/{}", text(&price["id"]));
    gateway.operator().patch(&path, &json!({ "output_usd_per_mtok": "7" })).await.must(200);
    let started = Instant::now();
    while !gateway.types_of(&corrected).await.contains(&"budget.adjusted.v1".to_owned()) {
        assert!(started.elapsed() < Duration::from_secs(20), "it was not corrected");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = explained(&gateway, &corrected).await;
    must_follow(&said);
    assert_eq!(said["settlement"]["adjustments"].as_array().map(Vec::len), Some(1), "{said:#}");
    let said = explained(&gateway, &lost_id).await;
    must_follow(&said);
    assert_eq!(
        (&said["settlement"]["type"], &said["settlement"]["calls"][0]["usage_source"]),
        (&json!("budget.expired"), &json!("unknown"))
    );
}

/// Spending by a key in other tenants of its user's reach counts against its budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_a_key_had_what_the_key_spent_in_other_tenants() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    let other = made(operator, "/tenants", json!({ "partner_id": tenant.partner, "name": "other" })).await;
    let roles = json!([{ "role": "partner_admin", "scope": { "partner_id": tenant.partner } }]);
    operator.patch(&format!("/v1/admin/users/{}", tenant.user), &json!({ "roles": roles })).await.must(200);
    made(operator, "/budgets", json!({ "scope": { "key_id": tenant.key }, "limit_usd": "3", "period": "day" })).await;
    let elsewhere = tenant.app.clone().with("x-tenant-id", &other);
    elsewhere.post(NATIVE, &tenant.ask("ok")).await.must(200);
    let here = tenant.chat("ok").await.must(200).request_id();
    let again = elsewhere.post(NATIVE, &tenant.ask("ok")).await.must(200).request_id();
    let events = gateway.facts().await;
    for request in [here, again] {
        let said = explained(&gateway, &request).await;
        must_follow(&said);
        must_be_what_it_had(&said, &events);
        let budgets = said["admission"]["budgets"].as_array().expect("budgets");
        let of_key = budgets.iter().find(|budget| budget["scope"]["key_id"] == tenant.key).expect("the key's");
        assert_ne!(of_key["settled_usd"], "0.000000000", "{said:#}");
    }
}

/// Whoever reaches the whole platform may act in a tenant of another partner.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_acts_for_another_partner_is_bound_by_the_budgets_of_its_own() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, other) =
        (Tenant::new(&gateway, &upstream, &[]).await, Tenant::new(&gateway, &upstream, &["ok"]).await);
    let roles = json!([{ "role": "partner_admin", "scope": "platform" }]);
    gateway.operator().patch(&format!("/v1/admin/users/{}", tenant.user), &json!({ "roles": roles })).await.must(200);
    let of_key = json!({ "scope": { "key_id": tenant.key }, "limit_usd": "3", "period": "day" });
    let of_key = made(gateway.operator(), "/budgets", of_key).await;
    let elsewhere = tenant.app.clone().with("x-tenant-id", &other.id);
    elsewhere.post(NATIVE, &other.ask("ok")).await.must(200);
    let request = elsewhere.post(NATIVE, &other.ask("ok")).await.must(200).request_id();
    let said = explained(&gateway, &request).await;
    must_follow(&said);
    must_be_what_it_had(&said, &gateway.facts().await);
    let budgets = said["admission"]["budgets"].as_array().expect("budgets");
    let ids: Vec<&str> = budgets.iter().filter_map(|budget| budget["budget_id"].as_str()).collect();
    assert_eq!((ids.contains(&&*of_key), ids.contains(&&*other.budget), ids.len()), (true, true, 2), "{said:#}");
}

/// A request that shrank, and one that is still running.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_that_a_budget_lowered_is_computed_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "paced-300"]).await;
    let path = format!("/v1/admin/budgets/{}", tenant.budget);
    gateway.operator().patch(&path, &json!({ "when_short": "shrink", "limit_usd": "0.005" })).await.must(200);
    let request = tenant.chat("ok").await.must(200).request_id();
    let admitted = gateway.life(&request).await[0]["data"].clone();
    assert!(admitted["requested_max_output_tokens"].is_u64(), "{admitted}");
    let said = explained(&gateway, &request).await;
    must_follow(&said);
    assert_eq!(said["admission"]["budgets"][0]["fits"], false, "what it had asked for: {said:#}");

    tenant.set_limit("5").await;
    let mut running = tenant.stream(OPENAI, "paced-300").await;
    running.next().await;
    let request = running.request_id();
    let said = explained(&gateway, &request).await;
    must_follow(&said);
    assert_eq!(said.get("settlement"), Some(&Value::Null), "it has not ended: {said:#}");
    running.rest().await;
}

/// Refusals for anything but a budget are not decided again, and nothing is shown that is not recorded.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_the_log_does_not_have_it_says_so() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let unknown = tenant.chat("nothing").await.must_be(404, "MODEL_NOT_FOUND").request_id();
    let said = explained(&gateway, &unknown).await;
    let null = Some(&Value::Null);
    assert_eq!((said.get("follows"), said["admission"].get("follows")), (null, null), "{said:#}");
    assert!(
        said["admission"]["undecided"][0].as_str().is_some_and(|why| why.contains("no budget refused it")),
        "{said:#}"
    );
    let path = "/v1/inferences/req_00000000000000000000000000000000/explain";
    gateway.operator().get(path).await.must_be(404, "NOT_FOUND");
    gateway.operator().get("/v1/inferences/nothing/explain").await.must_be(404, "NOT_FOUND");
    gateway.operator().get(&format!("{path}?deep=true")).await.must_be(400, "INVALID_REQUEST");
}

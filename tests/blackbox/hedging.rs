//! Hedges: the next target is called beside a first one that is slow. Whoever answers, both calls are in the books.

mod charges;
mod failures;
mod inexpressible;

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::abandoned::{metric, until_metric_is};
use crate::books::nano;
use crate::changed_meanwhile::{told, window};
use crate::client::Client;
use crate::explain::explained;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

const MESSAGES: &str = "/v1/messages";
const ENDED_MAX: Duration = Duration::from_secs(10);
/// The cost of a call that answers: 12 tokens in, 9 out, at the prices of the tests' tenants.
const ANSWER_COST: i64 = 1_000_000 + 12 * 3_000 + 9 * 15_000;
/// The cost of a call whose provider has reported the prompt, and no token of the answer yet.
const PROMPT_COST: i64 = 1_000_000 + 12 * 3_000;

struct House {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
}

impl House {
    async fn new(kind: &'static str, backends: &[&str], env: &[(&'static str, &str)]) -> Self {
        let (gateway, upstream) = (Gateway::start_with(env), MockUpstream::start().await);
        let setup = Setup { kind, timeout_ms: 60_000, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, backends, setup).await;
        Self { gateway, upstream, tenant }
    }

    /// A model of these targets, in this order.
    async fn hedged(&self, name: &str, backends: &[&str], after_ms: impl Into<Value>) -> String {
        let model = json!({ "name": self.tenant.model(name), "targets": self.targets(backends),
                            "hedge_after_ms": after_ms.into() });
        made(self.gateway.operator(), "/models", model).await
    }

    fn targets(&self, backends: &[&str]) -> Vec<Value> {
        let target = |(rank, backend): (usize, &&str)| {
            json!({ "provider_id": self.tenant.provider, "model": backend, "priority": rank, "max_output_tokens": 1024,
                    "default_max_output_tokens": 256 })
        };
        backends.iter().enumerate().map(target).collect()
    }

    /// Changes this of a model's second target.
    async fn change_second(&self, model: &str, change: (&str, Value)) {
        let path = format!("/v1/admin/models/{model}");
        let mut targets = self.gateway.operator().get(&path).await.must(200).json()["targets"].clone();
        targets[1][change.0] = change.1;
        self.gateway.operator().patch(&path, &json!({ "targets": targets })).await.must(200);
    }

    /// A stream of this model, whose first target has been called. Returns its life with its status once it has ended.
    async fn while_first_is_slow(
        &self,
        app: &Client,
        (model, first): (&str, &str),
        change: impl AsyncFnOnce(),
    ) -> (u16, Vec<Value>) {
        self.upstream.forget();
        let (app, body) = (app.clone(), self.tenant.ask_streamed(model));
        let mut asked = JoinSet::new();
        asked.spawn(async move {
            let stream = app.stream(NATIVE, &body).await.expect("a stream");
            let (status, request) = (stream.status, stream.request_id());
            assert!(stream.rest().await.1, "the stream was cut");
            (status, request)
        });
        self.upstream.until_seen(first, 1).await;
        change().await;
        let (status, request) = asked.join_next().await.expect("a request").expect("an answer");
        (status, self.gateway.life(&request).await)
    }

    /// Asks for an answer, to its end: the status, and the events of the request.
    async fn asked(&self, path: &str, model: &str, streamed: bool) -> (u16, Vec<Value>) {
        let mut body = if streamed { self.tenant.ask_streamed(model) } else { self.tenant.ask(model) };
        if path == MESSAGES {
            body["max_tokens"] = json!(256);
        }
        let (status, request) = if streamed {
            let stream = self.tenant.app.stream(path, &body).await.expect("a stream");
            let (status, request) = (stream.status, stream.request_id());
            assert!(stream.rest().await.1, "the stream was cut");
            (status, request)
        } else {
            let reply = self.tenant.app.post(path, &body).await;
            (reply.status, reply.request_id())
        };
        (status, self.gateway.life(&request).await)
    }

    /// The books add up, `verify` finds them sound, and each of these requests is explained.
    async fn must_be_sound(mut self, requests: &[String]) {
        let books = self.gateway.books_when_all_ended(ENDED_MAX).await;
        let (view, folded) = (self.gateway.budget(&self.tenant.budget).await, books.balance(&self.tenant.budget));
        assert_eq!((nano(&view["settled_usd"]), nano(&view["held_usd"])), (folded.settled, 0));
        for request in requests {
            let said = explained(&self.gateway, request).await;
            assert_ne!(said["follows"], false, "{said:#}");
            for part in ["life", "admission", "bound", "route"] {
                assert_eq!(said[part]["follows"], true, "{part} of {said:#}");
            }
            assert_eq!(said["settlement"]["differences"], json!([]), "{said:#}");
        }
        self.gateway.stop();
        let (code, said) = self.gateway.verify();
        assert_eq!(code, Some(0), "{said}");
    }
}

fn all_of<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| type_of(event) == name).map(|event| &event["data"]).collect()
}

fn of_type<'e>(events: &'e [Value], name: &str) -> &'e Value {
    all_of(events, name).first().unwrap_or_else(|| panic!("no {name} among {events:?}"))
}

fn request_of(events: &[Value]) -> String {
    text(&events[0]["request_id"])
}

fn held(events: &[Value]) -> i64 {
    nano(&of_type(events, "budget.reserved.v1")["held_usd"])
}

/// The only failed call, which was cancelled for the other one, and the charge of the request.
fn cancelled(events: &[Value]) -> (&Value, i64) {
    let failed = all_of(events, "inference.attempt_failed.v1");
    assert_eq!(failed.len(), 1, "{events:?}");
    assert_eq!(failed[0]["reason"], "hedged", "{events:?}");
    (failed[0], nano(&of_type(events, "budget.settled.v1")["charged_usd"]))
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_target_loses_and_is_charged_what_its_provider_had_reported() {
    // Its first event, with the prompt's tokens, comes after 300 ms, and the first word after 900.
    let house = House::new("anthropic", &["paced-300", "ok"], &[]).await;
    house.hedged("m", &["paced-300", "ok"], 500).await;
    let mut requests = Vec::new();
    for path in [NATIVE, OPENAI, MESSAGES] {
        let (status, life) = house.asked(path, "m", true).await;
        assert_eq!(status, 200, "{life:?}");
        let (lost, charged) = cancelled(&life);
        assert_eq!((&lost["attempt"], &lost["backend"]["model"]), (&json!(1), &json!("paced-300")), "{lost}");
        assert!(lost["latency_ms"].as_u64() >= Some(500), "{lost}");
        assert_eq!((nano(&lost["cost_usd"]), &lost["usage"]["input_uncached_tokens"]), (PROMPT_COST, &json!(12)));
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!((&completed["hedge"], &completed["attempts"]), (&json!("answered"), &json!(2)), "{completed}");
        assert_eq!(completed["backend"]["model"], "ok", "{completed}");
        assert_eq!(charged, PROMPT_COST + ANSWER_COST, "{completed}");
        requests.push(request_of(&life));
    }
    until_metric_is(&house.gateway, "ledgerway_hedges_total", 3).await;
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_of_which_nothing_is_known_is_charged_its_bound_and_never_more_than_the_hold() {
    // A single failure would open a breaker: a call that is cancelled early is none.
    let house = House::new("openai", &["slow-6000", "ok"], &[("LEDGERWAY_BREAKER_FAILURES", "1")]).await;
    house.hedged("m", &["slow-6000", "ok"], 200).await;
    house.hedged("alone", &["slow-6000", "ok"], Value::Null).await;
    let mut requests = Vec::new();
    for path in [NATIVE, OPENAI] {
        let began = Instant::now();
        let (status, life) = house.asked(path, "m", false).await;
        assert!(status == 200 && began.elapsed() < Duration::from_secs(5), "{life:?}");
        let (lost, charged) = cancelled(&life);
        // Both targets have one price, so that each is half of the hold.
        let bound = held(&life) / 2;
        assert_eq!((&lost["usage"]["source"], nano(&lost["cost_usd"])), (&json!("unknown"), bound), "{lost}");
        assert_eq!(charged, bound + ANSWER_COST, "{life:?}");
        assert_eq!(of_type(&life, "inference.admitted.v1")["hedge_after_ms"], 200);
        requests.push(request_of(&life));
    }
    assert_eq!(metric(&house.gateway, "ledgerway_breakers_open").await, 0);
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_that_answers_later_loses() {
    let house = House::new("openai", &["slow-700", "slow-5000"], &[]).await;
    house.hedged("m", &["slow-700", "slow-5000"], 200).await;
    let mut requests = Vec::new();
    for (path, streamed) in [(NATIVE, true), (OPENAI, true), (NATIVE, false), (OPENAI, false)] {
        let (status, life) = house.asked(path, "m", streamed).await;
        assert_eq!(status, 200, "{life:?}");
        let (lost, charged) = cancelled(&life);
        assert_eq!((&lost["attempt"], &lost["backend"]["model"]), (&json!(2), &json!("slow-5000")), "{lost}");
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!((&completed["hedge"], &completed["attempts"]), (&json!("lost"), &json!(2)), "{completed}");
        assert_eq!(completed["backend"]["model"], "slow-700", "{completed}");
        assert_eq!(charged, nano(&lost["cost_usd"]) + ANSWER_COST, "{life:?}");
        // A stream that has said nothing costs its prompt, by the gateway's estimate.
        let source = if streamed { "counted" } else { "unknown" };
        assert!(lost["usage"]["source"] == source && nano(&lost["cost_usd"]) > 1_000_000, "{lost}");
        requests.push(request_of(&life));
    }
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn if_both_fail_the_request_goes_on_with_the_targets_that_are_left() {
    let house = House::new("openai", &["e500", "e503", "ok"], &[]).await;
    house.hedged("three", &["e500", "e503", "ok"], 200).await;
    house.hedged("two", &["e500", "e503"], 200).await;
    house.upstream.on_request(|seen| async move {
        sleep(Duration::from_millis(match seen.model() {
            "e500" => 900,
            "e503" => 100,
            _ => 0,
        }))
        .await;
    });
    let mut requests = Vec::new();
    for (model, streamed) in [("three", true), ("three", false), ("two", true), ("two", false)] {
        house.upstream.forget();
        let (status, life) = house.asked(NATIVE, model, streamed).await;
        let failed = all_of(&life, "inference.attempt_failed.v1");
        let calls: Vec<_> = failed.iter().map(|call| (&call["attempt"], &call["backend"]["model"])).collect();
        assert_eq!(calls, [(&json!(1), &json!("e500")), (&json!(2), &json!("e503"))], "{life:?}");
        // Neither is called again.
        assert_eq!((house.upstream.seen_of("e500"), house.upstream.seen_of("e503")), (1, 1));
        if model == "three" {
            let completed = of_type(&life, "inference.completed.v1");
            assert_eq!((status, nano(&completed["cost_usd"])), (200, ANSWER_COST), "{life:?}");
            assert_eq!((&completed["hedge"], &completed["attempts"]), (&json!("failed"), &json!(3)), "{completed}");
            let (name, words) = (&house.tenant.name, told(&house.gateway, &request_of(&life)).await);
            assert!(words.contains("Call 1 had sent no content for 200 ms, so call 2 was made beside it."), "{words}");
            assert!(!words.contains(&format!("{name}/e503 was called next")), "{words}");
            assert!(words.contains(&format!("{name}/ok was called next")), "{words}");
        } else {
            let refused = of_type(&life, "inference.failed.v1");
            assert!(status >= 500 && refused["hedge"] == "failed", "{life:?}");
            of_type(&life, "budget.released.v1");
        }
        requests.push(request_of(&life));
    }
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges, query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn none_is_made_after_a_relayed_byte_and_no_request_has_two() {
    // The first word of `paced-150` comes before the time of the hedge, the last one long after it.
    let house = House::new("openai", &["paced-150", "e500", "e503", "slow-900", "ok"], &[]).await;
    house.hedged("begun", &["paced-150", "ok"], 700).await;
    house.hedged("four", &["e500", "e503", "slow-900", "ok"], 200).await;
    house.hedged("first", &["slow-900", "e503"], 200).await;
    house.upstream.on_request(|seen| async move {
        sleep(Duration::from_millis(match seen.model() {
            "e500" => 600,
            "e503" => 100,
            _ => 0,
        }))
        .await;
    });
    let mut requests = Vec::new();
    for (model, hedge) in [("begun", None), ("four", Some(json!("failed"))), ("first", Some(json!("failed")))] {
        let (status, life) = house.asked(NATIVE, model, true).await;
        let completed = of_type(&life, "inference.completed.v1");
        let seen = (status, completed.get("hedge"), house.upstream.seen_of("ok"));
        assert_eq!(seen, (200, hedge.as_ref(), 0), "{life:?}");
        requests.push(request_of(&life));
    }
    let words = told(&house.gateway, &requests[2]).await;
    assert!(!words.contains("was called next"), "the first call was under way all the time: {words}");
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges, admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_outside_of_its_share_is_no_hedge() {
    let house = House::new("openai", &["slow-700", "ok"], &[]).await;
    let model = house.hedged("tried", &["slow-700", "ok"], 100).await;
    let provider = &house.tenant.provider;
    let canary = json!({ "provider_id": provider, "model": "ok", "share_percent": 1, "by": "request" });
    let path = format!("/v1/admin/models/{model}");
    house.gateway.operator().patch(&path, &json!({ "canary": canary })).await.must(200);
    let life = loop {
        let (status, life) = house.asked(NATIVE, "tried", true).await;
        assert_eq!(status, 200, "{life:?}");
        if life[0]["data"]["route"]["canary"].is_null() {
            break life;
        }
    };
    let completed = of_type(&life, "inference.completed.v1");
    assert_eq!((completed.get("hedge"), &completed["backend"]["model"]), (None, &json!("slow-700")), "{completed}");
    assert!(life[0]["data"].get("hedge_after_ms").is_none(), "held for one call: {life:?}");
    house.must_be_sound(&[request_of(&life)]).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_that_fails_before_the_hedge_is_an_ordinary_failover() {
    let house = House::new("openai", &["close", "ok"], &[]).await;
    house.hedged("m", &["close", "ok"], 5_000).await;
    let mut requests = Vec::new();
    for streamed in [true, false] {
        let (status, life) = house.asked(NATIVE, "m", streamed).await;
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!(
            (status, completed.get("hedge"), nano(&completed["cost_usd"])),
            (200, None, ANSWER_COST),
            "{life:?}"
        );
        requests.push(request_of(&life));
    }
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn no_model_is_hedged_unless_it_says_so_and_no_large_request_is() {
    let house = House::new("openai", &["slow-700", "ok"], &[]).await;
    house.hedged("off", &["slow-700", "ok"], Value::Null).await;
    house.hedged("yes", &["slow-700", "ok"], 100).await;
    let (_, off) = house.asked(NATIVE, "off", true).await;
    let (_, on) = house.asked(NATIVE, "yes", true).await;
    assert_eq!(house.upstream.seen_of("ok"), 1, "{on:?}");
    assert_eq!(of_type(&off, "inference.admitted.v1").get("hedge_after_ms"), None);
    // Their names are of one length, as the bound counts bytes.
    assert_eq!(held(&on), 2 * held(&off));
    let mut large = house.tenant.ask("yes");
    large["messages"][0]["content"] = json!("word ".repeat(30_000));
    let reply = house.tenant.app.post(NATIVE, &large).await.must(200);
    let life = house.gateway.life(&reply.request_id()).await;
    assert_eq!(of_type(&life, "inference.admitted.v1").get("hedge_after_ms"), None);
    assert_eq!(house.upstream.seen_of("ok"), 1);
    let requests = [request_of(&off), request_of(&on), request_of(&life)];
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_both_calls_pays_for_both() {
    for streamed in [true, false] {
        let house = House::new("openai", &["hang", "gate"], &[]).await;
        house.hedged("m", &["hang", "gate"], 100).await;
        let mut clients = JoinSet::new();
        let (client, mut body) = (house.gateway.client(Some(&house.tenant.secret)), house.tenant.ask("m"));
        body["stream"] = json!(streamed);
        clients.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        });
        house.upstream.until_seen("gate", 1).await;
        clients.shutdown().await;
        if !streamed {
            // A whole answer is generated to its end: here, that of the second call.
            until_metric_is(&house.gateway, "ledgerway_abandoned_calls", 1).await;
            house.upstream.open_gate();
        }
        let books = house.gateway.books_when_all_ended(ENDED_MAX).await;
        let request = books.admitted().iter().next().expect("a request").clone();
        let life = house.gateway.life(&request).await;
        let failed = of_type(&life, "inference.attempt_failed.v1");
        let aborted = of_type(&life, "inference.aborted.v1");
        let charged = nano(&of_type(&life, "budget.settled.v1")["charged_usd"]);
        assert_eq!(aborted["reason"], "client_closed", "{life:?}");
        assert!(charged > nano(&failed["cost_usd"]) && nano(&failed["cost_usd"]) > 0 && charged <= held(&life));
        if streamed {
            assert_eq!((&failed["attempt"], &failed["reason"]), (&json!(2), &json!("client_closed")), "{life:?}");
            assert_eq!(aborted["hedge"], "unfinished", "{life:?}");
        } else {
            assert_eq!((&failed["attempt"], &failed["reason"]), (&json!(1), &json!("hedged")), "{life:?}");
            assert_eq!(charged, nano(&failed["cost_usd"]) + ANSWER_COST, "{life:?}");
        }
        house.must_be_sound(&[request]).await;
    }
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn killed_during_both_calls_it_charges_the_hold_that_was_made_for_two() {
    let mut house = House::new("openai", &["hang", "gate"], &[("LEDGERWAY_HOLD_TTL_SECONDS", "3")]).await;
    house.hedged("m", &["hang", "gate"], 100).await;
    let mut clients = JoinSet::new();
    for streamed in [true, false] {
        let (client, mut body) = (house.gateway.client(Some(&house.tenant.secret)), house.tenant.ask("m"));
        body["stream"] = json!(streamed);
        clients.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        });
    }
    house.upstream.until_seen("gate", 2).await;
    house.gateway.kill();
    clients.shutdown().await;
    house.gateway.start_again();
    let books = house.gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let requests: Vec<String> = books.admitted().iter().cloned().collect();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let life = house.gateway.life(request).await;
        assert_eq!(nano(&of_type(&life, "budget.expired.v1")["charged_usd"]), held(&life), "{life:?}");
    }
    house.must_be_sound(&requests).await;
}

/// The only call was that of the first target, which had its time. Returns why the second one was passed over.
fn not_hedged<'e>(house: &House, status: u16, life: &'e [Value], second: &str) -> Option<&'e Value> {
    let completed = of_type(life, "inference.completed.v1");
    assert_eq!((status, completed.get("hedge"), &completed["attempts"]), (200, None, &json!(1)), "{life:?}");
    assert_eq!(all_of(life, "inference.attempt_failed.v1").len(), 0, "{life:?}");
    assert_eq!(nano(&completed["cost_usd"]), ANSWER_COST);
    completed.get("passed_over").map(|passed_over| &passed_over[format!("{}/{second}", house.tenant.provider)])
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_is_looked_at_again_before_its_call_and_its_reasons_are_recorded() {
    let house = House::new("openai", &["slow-3000", "ok"], &[("LEDGERWAY_BREAKER_FAILURES", "1")]).await;
    let mut requests = Vec::new();
    let late = ("under-maintenance", "slow-3000");
    let model = house.hedged(late.0, &["slow-3000", "ok"], 1_500).await;
    let change = async || house.change_second(&model, ("maintenance", window(-60))).await;
    let (status, life) = house.while_first_is_slow(&house.tenant.app, late, change).await;
    assert_eq!(not_hedged(&house, status, &life, "ok"), Some(&json!(["maintenance"])), "{life:?}");
    requests.push(request_of(&life));

    // The call that is under way goes on, and no other one begins.
    let (key, app) = house.tenant.new_key(&house.gateway, json!({})).await;
    house.hedged("revoked", &["slow-3000", "ok"], 1_500).await;
    let change = async || {
        house.gateway.operator().delete(&format!("/v1/admin/keys/{key}")).await.must(200);
    };
    let (status, life) = house.while_first_is_slow(&app, ("revoked", "slow-3000"), change).await;
    assert_eq!((not_hedged(&house, status, &life, "ok"), house.upstream.seen_of("ok")), (None, 0), "{life:?}");
    requests.push(request_of(&life));

    // What its tenant requires meanwhile.
    house.hedged("terms", &["slow-3000", "ok"], 1_500).await;
    let tenant = format!("/v1/admin/tenants/{}", house.tenant.id);
    let change = async || {
        let terms = json!({ "required_terms": { "residency": "eu" } });
        house.gateway.operator().patch(&tenant, &terms).await.must(200);
    };
    let (status, life) = house.while_first_is_slow(&house.tenant.app, ("terms", "slow-3000"), change).await;
    assert_eq!(not_hedged(&house, status, &life, "ok"), Some(&json!(["terms_not_met"])), "{life:?}");
    requests.push(request_of(&life));
    until_metric_is(&house.gateway, "ledgerway_hedges_total", 3).await;
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_goes_by_the_limit_in_force_and_gives_its_place_back() {
    let house = House::new("openai", &["slow-3000", "gate"], &[]).await;
    let model = house.hedged("m", &["slow-3000", "gate"], 1_500).await;
    let limit = async |calls: u64| house.change_second(&model, ("max_concurrent", json!(calls))).await;
    limit(1).await;
    // Another model on the same backend shares its places.
    let mut alone = house.targets(&["gate"]);
    alone[0]["max_concurrent"] = json!(1_000);
    made(house.gateway.operator(), "/models", json!({ "name": house.tenant.model("alone"), "targets": alone })).await;
    let mut holder = JoinSet::new();
    let (app, body) = (house.tenant.app.clone(), house.tenant.ask("alone"));
    holder.spawn(async move { app.post(NATIVE, &body).await });
    house.upstream.until_seen("gate", 1).await;

    let (status, life) = house.while_first_is_slow(&house.tenant.app, ("m", "slow-3000"), async || ()).await;
    assert_eq!(not_hedged(&house, status, &life, "gate"), Some(&json!(["no_room"])), "{life:?}");
    let mut requests = vec![request_of(&life)];

    // Twice: the first one that loses gives its place back.
    for _ in 0..2 {
        limit(1).await;
        let change = async || limit(2).await;
        let (status, life) = house.while_first_is_slow(&house.tenant.app, ("m", "slow-3000"), change).await;
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!(
            (status, &completed["hedge"], completed.get("passed_over")),
            (200, &json!("lost"), None),
            "{life:?}"
        );
        let (lost, _) = cancelled(&life);
        assert_eq!(lost["backend"]["model"], "gate", "{lost}");
        requests.push(request_of(&life));
    }
    // Nor is a limit kept that was taken back.
    limit(1).await;
    let change = async || {
        house.change_second(&model, ("max_concurrent", Value::Null)).await;
        house.upstream.open_gate();
    };
    let (_, life) = house.while_first_is_slow(&house.tenant.app, ("m", "slow-3000"), change).await;
    assert_eq!(of_type(&life, "inference.completed.v1")["hedge"], "answered", "{life:?}");
    requests.push(request_of(&life));
    holder.join_next().await.expect("a request").expect("a reply").must(200);
    house.must_be_sound(&requests).await;
}

/// A hundred requests and more have a first target that is slow at the same time.
///
/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn hedges_take_from_the_retry_budget_of_the_tenant() {
    const REQUESTS: usize = 130;
    let house = House::new("openai", &["slow-4000", "ok"], &[]).await;
    house.hedged("m", &["slow-4000", "ok"], 1_500).await;
    let mut asked = JoinSet::new();
    for _ in 0..REQUESTS {
        let (app, body) = (house.tenant.app.clone(), house.tenant.ask_streamed("m"));
        asked.spawn(async move {
            let stream = app.stream(NATIVE, &body).await.expect("a stream");
            assert_eq!(stream.status, 200);
            let request = stream.request_id();
            assert!(stream.rest().await.1, "the stream was cut");
            request
        });
    }
    let requests = asked.join_all().await;
    let (mut hedged, mut forbidden) = (0, 0);
    for request in &requests {
        let life = house.gateway.life(request).await;
        let completed = of_type(&life, "inference.completed.v1");
        if completed.get("hedge").is_some() {
            hedged += 1;
        } else {
            assert_eq!(not_hedged(&house, 200, &life, "ok"), Some(&json!(["retry_budget"])), "{life:?}");
            forbidden += 1;
        }
    }
    // Two thirds of a hundred, and of a fifth of the other calls.
    assert!((67..=67 + REQUESTS / 5).contains(&hedged) && forbidden > 0, "{hedged} hedges, {forbidden} forbidden");
    assert_eq!(metric(&house.gateway, "ledgerway_retries_forbidden_total").await, forbidden);
    house.must_be_sound(&requests[..3]).await;
}

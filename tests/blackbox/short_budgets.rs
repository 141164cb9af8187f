//! A budget that is nearly spent: it refuses, shrinks or only observes, it tells when it is spent so far, and whoever
//! asks afterwards is told why.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{nano, usd};
use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

const CAP: u64 = 16_384;
/// The price of a token of output, in nano-dollars.
const OUTPUT_NANOS: i64 = 10_000;
const CENT: i64 = 10_000_000;

/// A tenant with a cent left, and a model that may answer 16,384 tokens at the price of a large one.
async fn with_a_cent(gateway: &Gateway, upstream: &MockUpstream, kind: &'static str, budget: Value) -> Tenant {
    let setup = Setup { kind, limit_usd: "0.01", ..Setup::default() };
    let tenant = Tenant::with(gateway, upstream, &[], setup).await;
    patch(gateway, &tenant, budget).await;
    add_large(gateway, &tenant, "ok").await;
    tenant
}

async fn patch(gateway: &Gateway, tenant: &Tenant, budget: Value) -> Value {
    let path = format!("/v1/admin/budgets/{}", tenant.budget);
    gateway.operator().patch(&path, &budget).await.must(200).json()
}

async fn add_large(gateway: &Gateway, tenant: &Tenant, backend: &str) {
    let price = json!({
        "provider_id": tenant.provider, "model": backend, "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10",
    });
    made(gateway.operator(), "/prices", price).await;
    let target = json!({
        "provider_id": tenant.provider, "model": backend, "max_output_tokens": CAP, "default_max_output_tokens": CAP,
    });
    made(gateway.operator(), "/models", json!({ "name": tenant.model(backend), "targets": [target] })).await;
}

/// `/v1/inferences/{id}`, not older than the log is now.
async fn explained(gateway: &Gateway, request_id: &str) -> Value {
    let head = gateway.head().await;
    gateway.operator().get(&format!("/v1/inferences/{request_id}?min_position={head}")).await.must(200).json()
}

fn lowered(reply: &Reply) -> u64 {
    reply.header("x-ledgerway-max-output-tokens").parse().expect("a cap")
}

fn must_verify(mut gateway: Gateway) {
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: http.budget-exceeded, query.inferences
#[tokio::test(flavor = "multi_thread")]
async fn of_a_cent_a_budget_that_refuses_gives_nothing_and_says_why() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({ "when_short": "refuse" })).await;
    let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(refused.header("x-ledgerway-max-output-tokens"), "");
    let details = refused.json()["error"]["details"].clone();
    assert_eq!((&details["limit_usd"], &details["settled_usd"]), (&json!(usd(CENT)), &json!(usd(0))));
    assert!(nano(&details["requested_usd"]) > OUTPUT_NANOS * i64::try_from(CAP).expect("small"), "{details}");
    assert!(upstream.seen().is_empty(), "a refused request was sent");
    let why = explained(&gateway, &refused.request_id()).await;
    assert_eq!((&why["status"], &why["code"]), (&json!("refused"), &json!("BUDGET_EXCEEDED")));
    for name in ["budget_id", "scope", "limit_usd", "settled_usd", "held_usd", "requested_usd", "resets_at"] {
        assert_eq!(why[name], details[name], "{name}");
    }
    must_verify(gateway);
}

/// Holds: admin.shrink
#[tokio::test(flavor = "multi_thread")]
async fn of_a_cent_a_budget_that_shrinks_gives_the_longest_answer_that_it_can_pay() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for (kind, path) in [("openai", NATIVE), ("openai", OPENAI), ("anthropic", NATIVE), ("anthropic", OPENAI)] {
        let tenant = with_a_cent(&gateway, &upstream, kind, json!({ "when_short": "shrink" })).await;
        let answer = tenant.app.post(path, &tenant.ask("ok")).await.must(200);
        let (cap, request) = (lowered(&answer), answer.request_id());
        assert_eq!(upstream.seen().last().expect("a request").body["max_tokens"], cap, "{path} through {kind}");
        let why = explained(&gateway, &request).await;
        assert_eq!((&why["max_output_tokens"], &why["requested_max_output_tokens"]), (&json!(cap), &json!(CAP)));
        let held = nano(&why["hold"]["held_usd"]);
        assert!(held <= CENT && held > CENT - OUTPUT_NANOS, "{held} are held of a cent");
        let charged = nano(&why["settlement"]["charged_usd"]);
        assert!(charged > 0 && charged <= held, "{charged} of {held}");
        let admitted = &gateway.life(&request).await[0];
        assert_eq!(admitted["data"]["max_output_tokens"], cap);
        assert_eq!(admitted["data"]["requested_max_output_tokens"], CAP);
    }
    // What was spent is gone: the next answer is shorter, and a stream says so as well.
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({ "when_short": "shrink" })).await;
    let first = lowered(&tenant.chat("ok").await.must(200));
    let body = serde_json::to_vec(&tenant.ask_streamed("ok")).expect("a body");
    let stream = tenant.app.open(http::Method::POST, OPENAI, body).await.expect("a stream");
    let cap: u64 = stream.headers()["x-ledgerway-max-output-tokens"].to_str().expect("text").parse().expect("a cap");
    assert!(cap < first, "{cap} after {first}");
    drop(stream);
    // An answer of a few tokens is none.
    let left = nano(&gateway.budget(&tenant.budget).await["settled_usd"]);
    tenant.set_limit(&usd(left)).await;
    tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    must_verify(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_sent_with_the_cap_that_was_lowered() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = with_a_cent(&gateway, &upstream, kind, json!({ "when_short": "shrink" })).await;
        tenant.set_limit("0.95").await;
        let mut body = tenant.ask("ok");
        body["messages"][0]["content"] = json!("\n".repeat(170_000) + "x");
        let cap = lowered(&tenant.app.post(OPENAI, &body).await.must(200));
        let sent = upstream.seen().last().expect("a request").body.clone();
        assert!(cap < CAP && sent["max_tokens"] == cap, "{cap}");
        assert!(sent.to_string().contains(&"\\n".repeat(170_000)), "the text is complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_to_think_in_stays_below_the_cap_or_the_request_is_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "anthropic", json!({ "when_short": "shrink" })).await;
    let mut body = tenant.ask("ok");
    body["reasoning"] = json!({ "budget_tokens": 1100 });
    tenant.app.post(NATIVE, &body).await.must_be(429, "BUDGET_EXCEEDED");
    assert!(upstream.seen().is_empty(), "a refused request was sent");
    tenant.set_limit("0.02").await;
    let cap = lowered(&tenant.app.post(NATIVE, &body).await.must(200));
    let seen = upstream.seen().last().expect("a request").body.clone();
    assert!(seen["thinking"]["budget_tokens"] == 1100 && seen["max_tokens"] == cap && cap > 1100, "{seen}");
    // The same for servers that have a field of their own for it.
    let other = with_a_cent(&gateway, &upstream, "openai", json!({ "when_short": "shrink" })).await;
    for field in [
        json!({ "min_tokens": 1100 }),
        json!({ "thinking": { "type": "enabled", "budget_tokens": 1100 } }),
        json!({ "reasoning": { "max_tokens": 1100 } }),
        json!({ "thinking_budget": 1100 }),
    ] {
        let mut body = other.ask("ok");
        body.as_object_mut().expect("an object").extend(field.as_object().expect("an object").clone());
        other.app.post(OPENAI, &body).await.must(429);
    }
    other.app.post(OPENAI, &other.ask("ok")).await.must(200);
    must_verify(gateway);
}

/// Holds: event.never-over
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_share_a_cent_and_never_spend_two() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({ "when_short": "shrink" })).await;
    let mut requests = JoinSet::new();
    for number in 0..200_u64 {
        let (app, mut body) = (tenant.app.clone(), tenant.ask("ok"));
        // Some ask for little, so that many hold at once.
        body["max_output_tokens"] = json!(if number.is_multiple_of(2) { CAP } else { 40 });
        requests.spawn(async move { app.post(NATIVE, &body).await });
    }
    let replies = requests.join_all().await;
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 429)));
    let shrunk = replies.iter().filter(|reply| !reply.header("x-ledgerway-max-output-tokens").is_empty()).count();
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    assert!(shrunk > 0 && answered < 200, "{shrunk} of {answered} were shortened");
    // The books hold every hold against the limit at its position.
    let books = gateway.books_when_all_ended(Duration::from_secs(10)).await;
    assert!(books.balance(&tenant.budget).settled <= CENT);
    must_verify(gateway);
}

/// Holds: admin.observe
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_observes_never_refuses_and_records_what_it_would_have_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({ "enforcement": "observe" })).await;
    let answer = tenant.chat("ok").await.must(200);
    assert_eq!(answer.header("x-ledgerway-max-output-tokens"), "");
    let why = explained(&gateway, &answer.request_id()).await;
    let [short] = why["would_have_refused"].as_array().expect("a list").as_slice() else { panic!("{why}") };
    assert_eq!(short["budget_id"], tenant.budget);
    assert_eq!((&short["limit_usd"], &short["requested_usd"]), (&json!(usd(CENT)), &why["hold"]["held_usd"]));
    assert!(nano(&gateway.budget(&tenant.budget).await["settled_usd"]) > 0, "it is charged like any");
    patch(&gateway, &tenant, json!({ "limit_usd": "5" })).await;
    let enough = tenant.chat("ok").await.must(200);
    assert_eq!(explained(&gateway, &enough.request_id()).await["would_have_refused"], Value::Null);
    must_verify(gateway);
}

/// Holds: admin.alerts
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_said_once_also_by_the_process_that_follows_a_killed_one() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let cost = nano(&tenant.chat("ok").await.must(200).json()["cost_usd"]);
    let limit = json!({ "limit_usd": usd(4 * cost), "alert_at": ["1.0", "0.5"] });
    assert_eq!(patch(&gateway, &tenant, limit).await["alert_at"], json!(["0.5", "1"]));
    // Observed, so that the last one fits.
    patch(&gateway, &tenant, json!({ "enforcement": "observe" })).await;
    tenant.chat("ok").await.must(200);
    gateway.kill();
    gateway.start_again();
    tenant.chat("ok").await.must(200);
    gateway.kill();
    gateway.start_again();
    let last = tenant.chat("ok").await.must(200);
    tenant.chat("ok").await.must(200);
    let alerts = tenant.events_of(&gateway, &["budget.threshold_reached"]).await;
    let said: Vec<_> = alerts
        .iter()
        .map(|event| {
            (event["sequence"].clone(), event["data"]["fraction"].clone(), nano(&event["data"]["settled_usd"]))
        })
        .collect();
    assert_eq!(said, [(json!(1), json!("0.5"), 2 * cost), (json!(2), json!("1"), 4 * cost)]);
    assert_eq!(alerts[1]["position"], last.position() + 1, "right behind the settlement that crossed it");
    assert_eq!(alerts[1]["stream"], format!("alert-{}", tenant.budget));
    must_verify(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_is_given_back_where_the_operator_says_so() {
    let env = [("LEDGERWAY_HOLD_TTL_SECONDS", "2"), ("LEDGERWAY_UNKNOWN_USAGE", "release")];
    let (mut gateway, upstream) = (Gateway::start_with(&env), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["hang"]).await;
    let (app, body) = (tenant.app.clone(), tenant.ask("hang"));
    let mut asking = JoinSet::new();
    asking.spawn(async move { drop(app.try_post(NATIVE, &body).await) });
    while upstream.seen_of("hang") == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.kill();
    asking.join_all().await;
    gateway.start_again();
    gateway.books_when_all_ended(Duration::from_secs(12)).await;
    let [expired] = &tenant.events_of(&gateway, &["budget.expired"]).await[..] else { panic!("one hold expires") };
    assert_eq!((&expired["data"]["policy"], &expired["data"]["charged_usd"]), (&json!("release"), &json!(usd(0))));
    must_verify(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_too_dear_by_its_bytes_is_counted_before_it_is_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &[], Setup { limit_usd: "0.02", ..Setup::default() }).await;
    for (name, tokenizer) in [("by-bytes", Value::Null), ("by-tokens", json!("o200k_base"))] {
        add_large(&gateway, &tenant, name).await;
        let model = gateway.operator().get("/v1/admin/models").await.must(200).json()["items"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|model| model["name"] == tenant.model(name))
            .expect("the model")
            .clone();
        let mut targets = model["targets"].clone();
        targets[0]["tokenizer"] = tokenizer;
        let path = format!("/v1/admin/models/{}", model["id"].as_str().expect("an id"));
        gateway.operator().patch(&path, &json!({ "targets": targets })).await.must(200);
    }
    let prose = "The quick brown fox jumps over the lazy dog. ".repeat(400);
    let ask = |name: &str, prose: &str| {
        let mut body = tenant.ask(name);
        (body["messages"][0]["content"], body["max_tokens"]) = (json!(prose), json!(64));
        body
    };
    let bytes = i64::try_from(ask("by-bytes", &prose).to_string().len()).expect("small");
    let refused = tenant.app.post(OPENAI, &ask("by-bytes", &prose)).await.must(429);
    assert!(nano(&explained(&gateway, &refused.request_id()).await["requested_usd"]) > bytes * 2500);
    let counted = tenant.app.post(OPENAI, &ask("by-tokens", &prose)).await.must(200);
    let types = gateway.types_of(&counted.request_id()).await;
    assert_eq!(types[..2], ["inference.admitted.v1", "budget.reserved.v1"], "nothing was refused before it");
    let why = explained(&gateway, &counted.request_id()).await;
    let bound = why["input_tokens_bound"].as_i64().expect("a number");
    assert!((4000..bytes / 3).contains(&bound), "{bound} tokens of {bytes} bytes");
    // Beyond that as well: one refusal, with the tighter figure.
    let refused = tenant.app.post(OPENAI, &ask("by-tokens", &prose.repeat(4))).await.must(429);
    assert_eq!(gateway.types_of(&refused.request_id()).await, ["inference.refused.v1"]);
    let requested = nano(&explained(&gateway, &refused.request_id()).await["requested_usd"]);
    assert!(requested < bytes * 2500 * 2 && requested > 4 * 4000 * 2500, "{requested} for four times the prose");
    assert_eq!(upstream.seen().len(), 1);
    must_verify(gateway);
}

/// Holds: http.budget-exceeded, http.affordable
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_an_output_cap_that_would_have_been_admitted() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({ "when_short": "refuse" })).await;
    let of_the_day = json!({ "scope": { "user_id": tenant.user }, "limit_usd": "0.008", "period": "day" });
    let of_the_day = made(gateway.operator(), "/budgets", of_the_day).await;
    for (path, named, more) in [
        (NATIVE, "max_output_tokens", json!({})),
        (NATIVE, "max_output_tokens", json!({ "max_output_tokens": 9000 })),
        (OPENAI, "max_tokens", json!({})),
        (OPENAI, "max_tokens", json!({ "max_tokens": null })),
        (OPENAI, "max_tokens", json!({ "max_tokens": 9000, "n": 3 })),
        (OPENAI, "max_completion_tokens", json!({ "max_completion_tokens": 9000 })),
    ] {
        let mut body = tenant.ask("ok");
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let refused = tenant.app.post(path, &body).await.must(429);
        let error = refused.json()["error"].clone();
        let (message, details) = (error["message"].as_str().expect("a message"), &error["details"]);
        let fit = details["affordable_max_output_tokens"].as_u64().unwrap_or_else(|| panic!("no cap: {error}"));
        assert!(message.contains(&format!("a {named} of {fit} or less")), "{error}");
        // In words as well, for whoever shows the message alone. The budget of the tenant is the one that is named.
        assert_eq!((&details["budget_id"], &details["remaining_usd"]), (&json!(tenant.budget), &json!(usd(CENT))));
        for name in ["budget_id", "remaining_usd", "requested_usd"] {
            assert!(message.contains(details[name].as_str().expect("text")), "{name}: {error}");
        }
        let event = &gateway.life(&refused.request_id()).await[0]["data"];
        assert_eq!(event["affordable_max_output_tokens"], fit, "{event}");
        // It is bound by the other budget as well, which has less. What it names is enough, and nearly all that is.
        for (cap, status) in [(fit + fit / 10, 429), (fit, 200)] {
            body[named] = json!(cap);
            tenant.app.post(path, &body).await.must(status);
        }
        let spent = nano(&gateway.budget(&tenant.budget).await["settled_usd"]);
        tenant.set_limit(&usd(CENT + spent)).await;
        let more = json!({ "limit_usd": usd(CENT * 8 / 10 + spent) });
        gateway.operator().patch(&format!("/v1/admin/budgets/{of_the_day}"), &more).await.must(200);
    }
    // Where the prompt alone is too much, no cap is named.
    let mut long = tenant.ask("ok");
    long["messages"][0]["content"] = json!("long ".repeat(10_000));
    let error = tenant.app.post(NATIVE, &long).await.must_be(429, "BUDGET_EXCEEDED").json()["error"].clone();
    assert_eq!(error["details"].get("affordable_max_output_tokens"), None, "{error}");
    assert!(!error["message"].as_str().expect("a message").contains("max_output_tokens"), "{error}");
    must_verify(gateway);
}

/// A lower cap lets in a target that is dearer.
#[tokio::test(flavor = "multi_thread")]
async fn the_cap_that_a_refusal_names_is_paid_for_at_whoever_takes_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = with_a_cent(&gateway, &upstream, "openai", json!({})).await;
    let dear = json!({
        "provider_id": tenant.provider, "model": "dear", "input_usd_per_mtok": "5", "output_usd_per_mtok": "40",
    });
    made(gateway.operator(), "/prices", dear).await;
    let target =
        |model: &str, cap: u64| json!({ "provider_id": tenant.provider, "model": model, "max_output_tokens": cap });
    let targets = json!([target("ok", CAP), target("dear", 2000)]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("two"), "targets": targets })).await;
    let mut body = tenant.ask("two");
    body["max_output_tokens"] = json!(4000);
    let error = tenant.app.post(NATIVE, &body).await.must_be(429, "BUDGET_EXCEEDED").json()["error"].clone();
    let fit = error["details"]["affordable_max_output_tokens"].as_u64().expect("a cap");
    assert!(fit < 250, "{fit} at 40 dollars a million are more than a cent");
    body["max_output_tokens"] = json!(fit);
    tenant.app.post(NATIVE, &body).await.must(200);
    must_verify(gateway);
}

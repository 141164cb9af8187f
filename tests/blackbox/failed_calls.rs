//! Calls that failed after their provider had said what they used: that much is charged, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::books::{nano, usd};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant, made, text};

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";
const USAGE: &str = r#""usage":{"prompt_tokens":40,"completion_tokens":7,"total_tokens":47}"#;
/// At the prices of the tests' tenants.
const COST: i64 = 1_000_000 + 40 * 3_000 + 7 * 15_000;
/// The cost of the target that answers: 12 tokens in, 9 out.
const ANSWER_COST: i64 = 1_000_000 + 12 * 3_000 + 9 * 15_000;

fn in_band() -> String {
    format!(r#"{{"error":{{"message":"lost","type":"server_error","code":500}},{USAGE}}}"#)
}

/// A report, then an error, before anything that could be relayed.
fn stream_in_band() -> String {
    format!(
        "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[],{USAGE}}}\n\ndata: \
         {{\"error\":{{\"message\":\"lost\",\"type\":\"server_error\"}}}}\n\n"
    )
}

struct House {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
}

impl House {
    async fn new() -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["said", "ok"]).await;
        tenant.add_model("both", &["said", "ok"]).await;
        Self { gateway, upstream, tenant }
    }

    /// Asks for the whole answer or for a stream, to its end; the events of the request.
    async fn asked(&self, path: &str, model: &str, streamed: bool) -> (u16, String, Vec<Value>) {
        let (status, request, cost) = if streamed {
            let stream = self.tenant.app.stream(path, &self.tenant.ask_streamed(model)).await.expect("a stream");
            let (status, request) = (stream.status, stream.request_id());
            stream.rest().await;
            (status, request, String::new())
        } else {
            let reply = self.tenant.app.post(path, &self.tenant.ask(model)).await;
            (reply.status, reply.request_id(), reply.header("x-ledgerway-cost-usd").to_owned())
        };
        (status, cost, self.gateway.life(&request).await)
    }
}

fn of_type<'e>(events: &'e [Value], name: &str) -> &'e Value {
    let found = events.iter().find(|event| type_of(event) == name);
    &found.unwrap_or_else(|| panic!("no {name} among {events:?}"))["data"]
}

fn must_say_what_it_used(attempt: &Value) {
    assert_eq!(nano(&attempt["cost_usd"]), COST, "{attempt}");
    let usage = &attempt["usage"];
    assert_eq!((&usage["input_uncached_tokens"], &usage["output_text_tokens"]), (&json!(40), &json!(7)), "{attempt}");
    assert_eq!((&usage["source"], &attempt["provider_usage"]["total_tokens"]), (&json!("provider"), &json!(47)));
    assert!(attempt["price_version"].is_u64(), "{attempt}");
}

/// Holds: event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_call_is_said_to_have_used_is_charged_beside_the_answer_of_another() {
    let mut house = House::new().await;
    let limit = json!({ "scope": { "tenant_id": house.tenant.id }, "tokens_per_day": 1_000_000 });
    let limit = made(house.gateway.operator(), "/rate-limits", limit).await;
    let mut charged = 0;
    for (path, streamed) in [(NATIVE, false), (OPENAI, false), (NATIVE, true), (OPENAI, true)] {
        let (content_type, said) = if streamed { (SSE, stream_in_band()) } else { (JSON, in_band()) };
        house.upstream.says(content_type, said);
        let (status, told, life) = house.asked(path, "both", streamed).await;
        assert_eq!(status, 200, "{path} {streamed}");
        must_say_what_it_used(of_type(&life, "inference.attempt_failed.v1"));
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!(nano(&completed["cost_usd"]), COST + ANSWER_COST, "{completed}");
        assert_eq!(completed["usage"]["output_text_tokens"], 9, "{completed}");
        assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), COST + ANSWER_COST);
        assert!(streamed || told == usd(COST + ANSWER_COST), "the client was told {told}");
        charged += COST + ANSWER_COST;
    }
    let budget = house.gateway.budget(&house.tenant.budget).await;
    assert_eq!(nano(&budget["settled_usd"]), charged);
    let used = house.gateway.operator().get(&format!("/v1/usage?tenant={}&group_by=day", house.tenant.id)).await;
    let used = used.must(200).json();
    assert_eq!(nano(&used["totals"]["cost_usd"]), charged, "{used}");
    // The tokens of both calls count, four times.
    let me = house.tenant.app.get("/v1/me").await.must(200).json();
    let shown = me["limits"].as_array().expect("limits").iter().find(|shown| shown["limit_id"] == *limit);
    assert_eq!(shown.expect("the limit")["remaining"], json!(1_000_000 - 4 * (47 + 21)), "{me}");
    house.gateway.books().await;
    house.gateway.stop();
    let (code, said) = house.gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_call_is_said_to_have_used_is_charged_where_no_other_answers() {
    let mut house = House::new().await;
    for (path, streamed) in [(NATIVE, false), (OPENAI, false), (NATIVE, true), (OPENAI, true)] {
        let (content_type, said) = if streamed { (SSE, stream_in_band()) } else { (JSON, in_band()) };
        house.upstream.says(content_type, said);
        let (status, _, life) = house.asked(path, "said", streamed).await;
        assert_eq!(status, 502, "{path} {streamed}");
        must_say_what_it_used(of_type(&life, "inference.attempt_failed.v1"));
        let failed = of_type(&life, "inference.failed.v1");
        assert_eq!((nano(&failed["cost_usd"]), failed.get("usage")), (COST, None), "{failed}");
        assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), COST);
    }
    // What it says that cannot be is not believed, and costs nothing.
    house.upstream.says(JSON, in_band().replace("40", "400000000"));
    let (status, _, life) = house.asked(NATIVE, "said", false).await;
    let attempt = of_type(&life, "inference.attempt_failed.v1");
    assert_eq!((status, &attempt["usage"]["source"]), (502, &json!("unknown")), "{attempt}");
    assert_eq!(attempt["provider_usage"]["prompt_tokens"], 400_000_000, "{attempt}");
    of_type(&life, "budget.released.v1");
    house.gateway.books().await;
    house.gateway.stop();
    let (code, said) = house.gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_in_an_error_is_charged_what_the_error_says_it_used() {
    let mut house = House::new().await;
    let word = r#"data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"The"}}]}"#;
    // So long a comment that the word goes to the client before the error is read.
    let comment = " ".repeat(64 * 1024);
    house.upstream.says(SSE, format!("{word}\n\n:{comment}\n\ndata: {}\n\n", in_band()));
    for path in [NATIVE, OPENAI] {
        let (status, _, life) = house.asked(path, "said", true).await;
        let failed = of_type(&life, "inference.failed.v1");
        assert_eq!((status, text(&failed["usage"]["source"])), (200, "provider".to_owned()), "{failed}");
        assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), COST, "{failed}");
    }
    house.gateway.books().await;
    house.gateway.stop();
    let (code, said) = house.gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_as_large_as_its_client_asked_for_is_not_free() {
    let house = House::new().await;
    house.upstream.says(JSON, vec![b' '; 34 * 1024 * 1024]);
    // 128 choices of 256 tokens each, the default: with log probabilities that may be as many bytes.
    let mut many = house.tenant.ask("both");
    many["n"] = json!(128);
    many["logprobs"] = json!(true);
    let refused = house.tenant.app.post(OPENAI, &many).await.must(400);
    assert_eq!(refused.json()["error"]["param"], "max_tokens");
    let life = house.gateway.life(&refused.request_id()).await;
    let held = &of_type(&life, "budget.reserved.v1")["held_usd"];
    let ended = of_type(&life, "inference.failed.v1");
    assert_eq!((&ended["usage"]["source"], &ended["reason"]), (&json!("unknown"), &json!("too_large")));
    assert_eq!(&of_type(&life, "budget.settled.v1")["charged_usd"], held);
    assert_eq!(house.upstream.seen_of("ok"), 0);

    // The tokens alone are never so many bytes.
    many["logprobs"] = json!(false);
    let reply = house.tenant.app.post(OPENAI, &many).await.must(200);
    assert_eq!(reply.header("x-ledgerway-cost-usd"), usd(ANSWER_COST));
}

/// Holds: event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_could_begin_only_when_the_time_is_over_is_not_made() {
    // A request has four fifths of it.
    let gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "5")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["e429"]).await;
    // Half a second before the end comes a refusal that asks for a second of patience.
    upstream.on_request(|_| tokio::time::sleep(Duration::from_millis(3_500)));
    let house = House { gateway, upstream, tenant };
    for streamed in [false, true] {
        house.upstream.forget();
        let (status, _, life) = house.asked(NATIVE, "e429", streamed).await;
        // It is not waited for in vain.
        assert_eq!((status, house.upstream.seen().len()), (429, 1), "{streamed}: {life:?}");
        of_type(&life, "budget.released.v1");
    }
}

//! Streams whose client leaves after their text: what comes at their end is read and charged, for two seconds at most, and of
//! what stays unknown the thoughts are charged that the request allowed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::{Call, MockUpstream, UpstreamByHand};
use tokio::time::timeout;

use crate::books::nano;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{OPENAI, Tenant, made};

/// Eight bytes of text: two tokens, if nobody reports them.
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"12345678\"}}]}\n\n";
const REPORT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":203,\"total_tokens\":215,\
    \"completion_tokens_details\":{\"reasoning_tokens\":200}}}\n\ndata: [DONE]\n\n";
const CAP: i64 = 250;
const ENDED_MAX: Duration = Duration::from_secs(8);

/// Asks for a stream with these fields and leaves it after its text. Returns the call at the upstream and the request's id.
async fn left_after_its_text(
    gateway: &Gateway,
    tenant: &Tenant,
    upstream: &UpstreamByHand,
    fields: &Value,
) -> (Call, String) {
    let mut body = tenant.ask_streamed("m");
    body["max_tokens"] = json!(CAP);
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let mut wire = gateway.wire().await;
    wire.send(tenant.request(OPENAI, "", &body.to_string())).await;
    let mut call = upstream.called().await;
    call.takes_the_body().await;
    call.begins_to_stream().await;
    assert!(call.says(TEXT).await);
    let head = wire.head().await.expect("a head");
    assert!(wire.read_some().await, "the stream has begun");
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id").to_owned();
    // A client that has only closed its side may still listen.
    wire.reset();
    (call, id)
}

/// How long the gateway goes on reading.
async fn read_for(call: &mut Call) -> Duration {
    let began = Instant::now();
    let closed = async {
        while call.says(": nothing\n\n").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(ENDED_MAX, closed).await.expect("the gateway hangs up");
    began.elapsed()
}

/// The outcome of a request, which its client has ended.
async fn outcome(gateway: &Gateway, request: &str) -> Value {
    let life = gateway.life(request).await;
    let aborted = life.iter().find(|event| type_of(event) == "inference.aborted.v1");
    let data = aborted.unwrap_or_else(|| panic!("{life:?}"))["data"].clone();
    assert_eq!(data["reason"], "client_closed", "{data}");
    data
}

/// Holds: inf.left-streams
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_left_at_the_last_brace_is_charged_as_the_provider_reports_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, by_hand) = (Tenant::new(&gateway, &upstream, &[]).await, UpstreamByHand::start().await);
    tenant.add_model_at("m", &by_hand.base_url()).await;
    let (mut call, request) = left_after_its_text(&gateway, &tenant, &by_hand, &json!({})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(call.says(REPORT).await, "the gateway still reads");
    drop(call);
    gateway.books_when_all_ended(ENDED_MAX).await;
    let data = outcome(&gateway, &request).await;
    let usage = &data["usage"];
    let tokens = (&usage["source"], &usage["output_text_tokens"], &usage["output_reasoning_tokens"]);
    assert_eq!(tokens, (&json!("provider"), &json!(3), &json!(200)), "{data}");
    assert_eq!(nano(&data["cost_usd"]), 12 * 3_000 + 203 * 15_000 + 1_000_000, "{data}");
    gateway.books().await;
}

/// Holds: inf.left-streams
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_reported_within_two_seconds_is_charged_with_the_thoughts_that_were_allowed() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, by_hand) = (Tenant::new(&gateway, &upstream, &[]).await, UpstreamByHand::start().await);
    let provider = tenant.add_model_of("m", json!({ "base_url": by_hand.base_url() })).await;
    let operator = gateway.operator();
    for refused in ["reasoning_effort", "reasoning_effort_with_tools"] {
        let target = json!({ "provider_id": provider, "model": "m", "refused_parameters": [refused], "default_max_output_tokens": 256 });
        made(operator, "/models", json!({ "name": refused, "targets": [target] })).await;
    }
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let mut left = Vec::new();
    for (fields, thoughts) in [
        (json!({}), 0),
        (json!({ "reasoning_effort": "none" }), 0),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 100 } }), 100),
        (json!({ "reasoning_effort": "high" }), CAP - 2),
        // Its wish to think is not sent.
        (json!({ "reasoning_effort": "high", "model": "reasoning_effort" }), 0),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 100 }, "model": "reasoning_effort" }), 0),
        (json!({ "reasoning_effort": "high", "model": "reasoning_effort_with_tools", "tools": tools }), 0),
        (json!({ "reasoning_effort": "high", "model": "reasoning_effort_with_tools" }), CAP - 2),
        // A server's own arguments are, and what they mean nobody knows.
        (
            json!({ "chat_template_kwargs": { "enable_thinking": true }, "reasoning_effort": "high", "model": "reasoning_effort" }),
            CAP - 2,
        ),
    ] {
        let (call, request) = left_after_its_text(&gateway, &tenant, &by_hand, &fields).await;
        left.push((call, request, thoughts));
    }
    let mut last = left.pop().expect("the last one");
    let took = read_for(&mut last.0).await;
    assert!(took > Duration::from_millis(1_500), "it was cancelled after {took:?}");
    left.push(last);
    gateway.books_when_all_ended(ENDED_MAX).await;
    for (_, request, thoughts) in &left {
        let data = outcome(&gateway, request).await;
        let usage = &data["usage"];
        let tokens = (&usage["source"], &usage["output_text_tokens"], &usage["output_reasoning_tokens"]);
        assert_eq!(tokens, (&json!("counted"), &json!(2), &json!(thoughts)), "{data}");
    }
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: inf.left-streams
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_provider_bills_by_time_is_cancelled_when_its_client_leaves() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, by_hand) = (Tenant::new(&gateway, &upstream, &[]).await, UpstreamByHand::start().await);
    tenant.add_model_of("m", json!({ "base_url": by_hand.base_url(), "billed_by": "time" })).await;
    let (mut call, request) = left_after_its_text(&gateway, &tenant, &by_hand, &json!({})).await;
    let took = read_for(&mut call).await;
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    gateway.books_when_all_ended(ENDED_MAX).await;
    assert_eq!(outcome(&gateway, &request).await["usage"]["source"], "counted");
}

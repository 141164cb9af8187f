//! Answers that are large, many, unfinished or unread: what they take is bounded for a key, a tenant and in all, and what
//! does not fit is refused and paid for as far as it was made.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, UpstreamByHand};
use testing::wire::Wire;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::body_memory::{MIB, metric_of, rich};
use crate::books::nano;
use crate::client::Sse;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// The share of the key, where nothing is configured.
const SHARE_OF_KEY: usize = 33 * MIB;
const SOON: Duration = Duration::from_secs(20);

/// An answer of OpenAI's with so much text.
fn answer_with(text: usize) -> String {
    let message = json!({ "role": "assistant", "content": "a".repeat(text) });
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21 });
    json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": usage }).to_string()
}

async fn held(gateway: &Gateway) -> usize {
    metric_of(gateway, "ledgerway_answer_bytes ").await
}

async fn until_held(gateway: &Gateway, is: impl Fn(usize) -> bool) {
    let reached = async {
        while !is(held(gateway).await) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, reached).await.expect("so much is held");
}

/// A client that has been told that its answer comes, and reads nothing more of it.
async fn unread(gateway: &Gateway, tenant: &Tenant) -> Wire {
    let mut wire = gateway.wire().await;
    wire.send(tenant.request(OPENAI, "", &tenant.ask("said").to_string())).await;
    let head = timeout(SOON, wire.head()).await.expect("an answer in time").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    wire
}

/// The last outcome of the tenant's, and what was held for it and charged.
async fn failed(gateway: &Gateway, tenant: &Tenant) -> (Value, i64, i64) {
    let failed = tenant.events_of(gateway, &["inference.failed"]).await.pop().expect("a failure");
    let life = gateway.life(failed["request_id"].as_str().expect("its id")).await;
    let end = &life.last().expect("an end")["data"];
    (failed["data"].clone(), nano(&end["held_usd"]), nano(&end["charged_usd"]))
}

/// Holds: http.answer-memory, http.overloaded, inf.usage-source
#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_of_one_key_take_no_more_than_its_share_while_they_arrive() {
    let (gateway, mock, by_hand) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let (tenant, other) = (rich(&gateway, &mock, &["ok"]).await, rich(&gateway, &mock, &["said"]).await);
    tenant.add_model_at("large", &by_hand.base_url()).await;
    let answer = answer_with(20 * MIB);
    let (mut asking, mut upstreams) = (JoinSet::new(), JoinSet::new());
    for _ in 0..2 {
        let (app, body, begun) = (tenant.app.clone(), tenant.ask("large"), answer[..answer.len() - 1].to_owned());
        asking.spawn(async move { app.post(NATIVE, &body).await });
        let mut call = by_hand.called().await;
        upstreams.spawn(async move {
            call.takes_the_body().await;
            call.begins_to_answer(begun.len() + 1).await;
            // Of the one that waits for room not all is taken.
            call.says(begun).await.then_some(call)
        });
        until_held(&gateway, |bytes| bytes >= 20 * MIB).await;
    }
    let refused = timeout(SOON, asking.join_next()).await.expect("one of them is refused").expect("one");
    let refused = refused.expect("an answer").must_be(503, "OVERLOADED");
    assert_eq!((&refused.json()["error"]["details"]["scope"], refused.header("retry-after")), (&json!("key"), "1"));
    let bytes = held(&gateway).await;
    assert!((20 * MIB..SHARE_OF_KEY).contains(&bytes), "{bytes} bytes are held");
    // The provider has worked, and nobody knows how much.
    let (said, held_usd, charged) = failed(&gateway, &tenant).await;
    assert_eq!((&said["reason"], &said["usage"]["source"]), (&json!("no_memory"), &json!("unknown")));
    assert!(charged > 0 && charged == held_usd, "{said}");
    // Others are served, and so are small answers of the same key.
    mock.says("application/json", answer_with(20 * MIB));
    other.chat("said").await.must(200);
    tenant.chat("ok").await.must(200);
    // The one that there was room for is whole.
    let call = loop {
        let ended = upstreams.join_next().await.expect("one that was taken").expect("no panic");
        if ended.is_some() {
            break ended;
        }
    };
    call.expect("a call").says("}").await;
    asking.join_next().await.expect("the other").expect("an answer").must(200);
    until_held(&gateway, |bytes| bytes == 0).await;
}

/// Holds: http.answer-memory, http.overloaded
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_its_answers_gets_no_more_until_it_has() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = rich(&gateway, &upstream, &["said", "ok"]).await;
    let mut clients = Vec::new();
    for bytes in [31 * MIB - 16 * 1024, 2 * MIB - 32 * 1024] {
        upstream.says("application/json", answer_with(bytes));
        clients.push(unread(&gateway, &tenant).await);
    }
    let before = (upstream.seen().len(), gateway.facts().await.len());
    let refused = tenant.chat("ok").await.must_be(503, "OVERLOADED");
    assert_eq!(refused.json()["error"]["details"]["scope"], "key");
    assert_eq!((upstream.seen().len(), gateway.facts().await.len()), before, "it costs nothing");
    let bytes = held(&gateway).await;
    assert!((SHARE_OF_KEY - 64 * 1024..=SHARE_OF_KEY).contains(&bytes), "{bytes} bytes are held");
    // Another key of the tenant has room of its own.
    let (_, sibling) = tenant.new_key(&gateway, json!({})).await;
    sibling.post(NATIVE, &tenant.ask("ok")).await.must(200);
    drop(clients);
    until_held(&gateway, |bytes| bytes == 0).await;
    tenant.chat("ok").await.must(200);
}

/// Holds: admin.limits
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_has_its_place_until_its_last_bytes_are_handed_over() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = rich(&gateway, &upstream, &["said", "ok"]).await;
    let limit = json!({ "scope": { "key_id": tenant.key }, "concurrent_requests": 1 });
    made(gateway.operator(), "/rate-limits", limit).await;
    upstream.says("application/json", answer_with(20 * MIB));
    let mut client = gateway.wire().await;
    client.send(tenant.request(OPENAI, "", &tenant.ask("said").to_string())).await;
    while tenant.events_of(&gateway, &["inference.completed"]).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    let answer = client.response().await.expect("an answer");
    assert_eq!((answer.status, answer.body.len() > 20 * MIB), (200, true));
    // Whoever has read the last byte finds its place free.
    tenant.chat("ok").await.must(200);
}

/// Events without an end, kept until they are whole.
///
/// Holds: http.answer-memory, http.overloaded
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_events_of_one_keys_streams_take_no_more_than_its_share() {
    // The last one's are beyond the share: a further stream might be refused before its upstream is called.
    const STREAMS: usize = 5;
    const UNFINISHED: usize = 7 * MIB;
    let (gateway, mock, by_hand) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let tenant = rich(&gateway, &mock, &["ok"]).await;
    tenant.add_model_at("endless", &by_hand.base_url()).await;
    let (mut streams, mut upstreams) = (JoinSet::new(), JoinSet::new());
    let before = gateway.resident_kib();
    for _ in 0..STREAMS {
        let (app, body) = (tenant.app.clone(), tenant.ask_streamed("endless"));
        streams.spawn(async move { app.stream(NATIVE, &body).await.expect("a stream").rest().await });
        let mut call = by_hand.called().await;
        upstreams.spawn(async move {
            call.takes_the_body().await;
            call.begins_to_stream().await;
            let first = json!({ "choices": [{ "index": 0, "delta": { "content": "eight ch" } }] });
            call.says(format!("data: {first}\n\ndata: {}", "x".repeat(UNFINISHED))).await;
            call
        });
    }
    let (events, _) =
        timeout(SOON, streams.join_next()).await.expect("one is refused").expect("one").expect("a stream");
    let last: Value = events.last().map(Sse::json).expect("an event");
    assert_eq!(last["error"]["code"], "OVERLOADED", "{last}");
    let bytes = held(&gateway).await;
    assert!(bytes <= SHARE_OF_KEY, "{bytes} bytes are held");
    let grown = gateway.resident_kib().saturating_sub(before) / 1024;
    assert!(grown < 80, "{grown} MiB more");
    // What went through is charged, and no more.
    let (said, held_usd, charged) = failed(&gateway, &tenant).await;
    assert_eq!((&said["reason"], &said["usage"]["source"]), (&json!("no_memory"), &json!("counted")));
    assert_eq!(said["usage"]["output_text_tokens"], 2);
    assert!(charged > 0 && charged < held_usd, "{said}");
    let (_, sibling) = tenant.new_key(&gateway, json!({})).await;
    sibling.post(NATIVE, &tenant.ask("ok")).await.must(200);
    drop((streams, upstreams));
    until_held(&gateway, |bytes| bytes == 0).await;
}

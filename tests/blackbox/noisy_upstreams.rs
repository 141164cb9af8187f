//! Upstreams that go on sending, and nothing of an answer: they end as if they were silent.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, UpstreamByHand};
use tokio::time::{sleep, timeout};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{OPENAI, Tenant};

const WAIT_MS: u64 = 800;
/// Room for a busy machine. Without a bound, such an answer goes on for fifteen minutes.
const SOON: Duration = Duration::from_secs(20);
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
/// Pieces of streams without data: the fourth and the last are lines and events that never end.
const NOISE: [&str; 8] =
    [": x\n\n", "\n", "data:\n\n", "data:\n", "data: \n\n", "retry: 1\n", "event: ping\n\n", ":aaaa"];

/// The words of an upstream: those that it says once, and those that it repeats until the gateway closes the connection.
struct Words<'w> {
    first: &'w str,
    then: &'w str,
    pause: Duration,
}

/// A model whose provider has little patience, and its upstream.
async fn upstream_of(tenant: &Tenant, model: &str) -> UpstreamByHand {
    let upstream = UpstreamByHand::start().await;
    let waits = json!({ "base_url": upstream.base_url(), "timeout_ms": WAIT_MS, "idle_timeout_ms": WAIT_MS });
    tenant.add_model_of(model, waits).await;
    upstream
}

/// The reply of a model whose upstream sends these words, and how many bytes of them the gateway took.
async fn reply_to(tenant: &Tenant, model: &str, body: &Value, words: Words<'_>) -> (Reply, usize) {
    let upstream = upstream_of(tenant, model).await;
    let sent = async {
        let mut call = upstream.called().await;
        call.takes_the_body().await;
        match body["stream"].as_bool() {
            Some(true) => call.begins_to_stream().await,
            _ => call.begins_to_answer(1_000_000).await,
        }
        assert!(call.says(words.first).await, "{model}");
        let mut sent = 0;
        while call.says(words.then).await {
            sent += words.then.len();
            sleep(words.pause).await;
        }
        sent
    };
    let both = timeout(SOON, join(tenant.app.post(OPENAI, body), sent)).await;
    both.unwrap_or_else(|_| {
        panic!("{model}: {:?} and {:?} go on", words.first, &words.then[..words.then.len().min(20)])
    })
}

fn must_be_broken_off(reply: &Reply, words: &str) {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 200, "{words:?}: {text}");
    assert!(text.contains("hi") && text.contains("error") && !text.contains("[DONE]"), "{words:?}: {text}");
}

/// Holds: admin.timeouts, http.upstream-alone, http.stream-error
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_comments_and_empty_events_ends_like_a_silent_one() {
    let (gateway, mock) = (Gateway::start(), MockUpstream::start().await);
    let tenant = &Tenant::new(&gateway, &mock, &[]).await;
    join_all(NOISE.iter().enumerate().map(|(number, noise)| async move {
        let model = format!("noise-{number}");
        let words = Words { first: "", then: noise, pause: Duration::from_millis(100) };
        let (reply, _) = reply_to(tenant, &model, &tenant.ask_streamed(&model), words).await;
        assert_eq!(reply.status, 504, "{noise:?}: {}", String::from_utf8_lossy(&reply.body));
        let model = format!("begun-{number}");
        let words = Words { first: EVENT, then: noise, pause: Duration::from_millis(100) };
        let (reply, _) = reply_to(tenant, &model, &tenant.ask_streamed(&model), words).await;
        must_be_broken_off(&reply, noise);
    }))
    .await;
    gateway.books_when_all_ended(Duration::from_secs(5)).await;
}

/// Holds: admin.timeouts, http.upstream-alone
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_of_blank_lines_ends_like_a_silent_one() {
    let (gateway, mock) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &mock, &[]).await;
    for (model, first) in [("blank", ""), ("begun", "{\"choices\":")] {
        let words = Words { first, then: "\r\n ", pause: Duration::from_millis(100) };
        let (reply, _) = reply_to(&tenant, model, &tenant.ask(model), words).await;
        assert_eq!(reply.status, 504, "{first:?}: {}", String::from_utf8_lossy(&reply.body));
    }
    gateway.books_when_all_ended(Duration::from_secs(5)).await;
}

/// Holds: admin.timeouts, inf.stream-pace
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_comments_is_read_at_its_pace_until_it_ends() {
    /// 16 MB at once, 2 MB a second while it is waited, and what the buffers of the connection take.
    const TAKEN_MAX: usize = 80_000_000;
    let (gateway, mock) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &mock, &[]).await;
    let flood = ": keep-alive\n\n".repeat(5_000);
    for (model, first) in [("flood", ""), ("begun", EVENT)] {
        let words = Words { first, then: &flood, pause: Duration::ZERO };
        let (reply, taken) = reply_to(&tenant, model, &tenant.ask_streamed(model), words).await;
        match first {
            "" => assert_eq!(reply.status, 504, "{}", String::from_utf8_lossy(&reply.body)),
            _ => must_be_broken_off(&reply, "a flood"),
        }
        assert!(taken < TAKEN_MAX, "{taken} bytes were taken, after {first:?}");
    }
    gateway.books_when_all_ended(Duration::from_secs(5)).await;
}

/// Holds: admin.timeouts
#[tokio::test(flavor = "multi_thread")]
async fn pings_and_pieces_of_a_large_event_are_signs_of_life() {
    let (gateway, mock) = (Gateway::start(), MockUpstream::start().await);
    let tenant = &Tenant::new(&gateway, &mock, &[]).await;
    let (begin, end) = EVENT.split_once("hi").expect("its content");
    let text = "hi".repeat(64 * 1024);
    let large = [&[begin][..], &[text.as_str(); 8], &[end, DONE]].concat();
    let pinged = [&["data: {\"type\":\"ping\"}\n\n"; 10][..], &[EVENT, DONE]].concat();
    join_all([("large", &large), ("pinged", &pinged)].map(|(model, pieces)| async move {
        let upstream = upstream_of(tenant, model).await;
        let sent = async {
            let mut call = upstream.called().await;
            call.takes_the_body().await;
            call.begins_to_stream().await;
            for piece in pieces {
                assert!(call.says(piece).await, "{model}: the gateway has closed the connection");
                sleep(Duration::from_millis(WAIT_MS / 3)).await;
            }
        };
        let body = tenant.ask_streamed(model);
        let (reply, ()) = timeout(SOON, join(tenant.app.post(OPENAI, &body), sent)).await.expect("in time");
        let text = String::from_utf8_lossy(&reply.must(200).body).into_owned();
        assert!(text.contains("hi") && text.ends_with(DONE), "{model}: {} bytes", text.len());
    }))
    .await;
}

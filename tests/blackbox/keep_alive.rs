//! Streams whose upstream says nothing for a while.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use testing::upstream::{MockUpstream, TEXT};

use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const COMMENT: &str = ": keep-alive\n\n";
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// Holds: inf.keep-alive
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_pauses_is_kept_alive_on_every_surface_and_costs_the_same() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_KEEP_ALIVE_SECONDS", "1")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "paced-1300"]).await;
    let surfaces = [(NATIVE, COMMENT), (OPENAI, COMMENT), (RESPONSES, COMMENT), (MESSAGES, PING)];
    let check = async |(path, word)| {
        let ask = async |model: &str| {
            let mut body = tenant.ask_streamed(model);
            if path == RESPONSES {
                body = json!({ "model": body["model"], "stream": true, "input": "hello", "store": false });
            } else if path == MESSAGES {
                body["max_tokens"] = 100.into();
            }
            let began = Instant::now();
            let stream = tenant.app.stream(path, &body).await.expect("a stream");
            assert_eq!(stream.status, 200, "{path}");
            let (request, raw) = (stream.request_id(), stream.raw().await);
            // On a busy machine, any stream may pause.
            let words = u64::try_from(raw.matches(word).count()).expect("a number");
            assert!(words <= began.elapsed().as_secs(), "{path}, in {:?}: {raw}", began.elapsed());
            let life = gateway.life(&request).await;
            let end = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("its end").clone();
            (raw, end["data"].clone())
        };
        let (_, of_fast) = ask("ok").await;
        let (slow, of_slow) = ask("paced-1300").await;
        assert!(slow.matches(word).count() >= 2, "{path}: {slow}");
        // Between whole events.
        for before in slow.split(word) {
            assert!(before.is_empty() || before.ends_with("\n\n"), "{path}: {before:?}");
        }
        assert!(TEXT.split(' ').all(|part| slow.contains(part)), "{path}: {slow}");
        for field in ["usage", "cost_usd", "finish_reason"] {
            assert_eq!(of_slow[field], of_fast[field], "{path} {field}");
        }
    };
    join_all(surfaces.map(check)).await;
}

/// Holds: inf.keep-alive
#[tokio::test(flavor = "multi_thread")]
async fn words_to_the_client_give_a_silent_upstream_no_more_time() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_KEEP_ALIVE_SECONDS", "1")]);
    let upstream = MockUpstream::start().await;
    let setup = Setup { timeout_ms: 3500, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["stall"], setup).await;
    let began = Instant::now();
    let raw = tenant.app.stream(OPENAI, &tenant.ask_streamed("stall")).await.expect("a stream").raw().await;
    assert!((2..=4).contains(&raw.matches(COMMENT).count()), "{raw}");
    assert!(raw.contains("error") && began.elapsed() < Duration::from_secs(7), "{raw} in {:?}", began.elapsed());
}

/// Holds: inf.keep-alive
#[tokio::test(flavor = "multi_thread")]
async fn without_an_interval_nothing_is_said() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_KEEP_ALIVE_SECONDS", "0")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["paced-500"]).await;
    let raw = tenant.app.stream(OPENAI, &tenant.ask_streamed("paced-500")).await.expect("a stream").raw().await;
    assert!(raw.contains("[DONE]") && !raw.contains("keep-alive"), "{raw}");
}

/// Holds: inf.keep-alive
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_measured_for_its_strategy_is_kept_alive_too() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_KEEP_ALIVE_SECONDS", "1")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    tenant.price("paced-1300").await;
    let target = json!({ "provider_id": tenant.provider, "model": "paced-1300", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("fast"), "strategy": "latency", "targets": [target] });
    made(gateway.operator(), "/models", model).await;
    let raw = tenant.app.stream(OPENAI, &tenant.ask_streamed("fast")).await.expect("a stream").raw().await;
    assert!(raw.contains("[DONE]") && raw.matches(COMMENT).count() >= 2, "{raw}");
}

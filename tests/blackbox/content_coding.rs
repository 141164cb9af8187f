//! Bodies that are compressed: those of clients, by the codings that are decoded, and those of upstreams that compress although they were
//! asked not to.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::Method;
use serde_json::{Value, json};
use testing::upstream::{Call, MockUpstream, UpstreamByHand};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// `{"name":"compressed-compressed-…"}` as zlib, Google's brotli and the command `zstd` write it.
const BY_OTHERS: [(&str, &str); 4] = [
    ("gzip", "1f8b0800000000000003ab56ca4bcc4d55b2524acecf2d284a2d2e4e4dd12593a9540b00fc4ab72e4d000000"),
    ("deflate", "789cab56ca4bcc4d55b2524acecf2d284a2d2e4e4dd12593a9540b0077e21da8"),
    ("br", "1b4c00f88dd4567921dd2845c8f6ba45a7ac4f4a82cd3719c0131f59a5413f0a0c"),
    ("zstd", "28b52ffd244ded0000b07b226e616d65223a22636f6d707265737365642d227d0100e8b330016da46872"),
];
const PARTNERS: &str = "/v1/admin/partners";
/// A completion that reports 12 tokens of prompt and 3 of completion.
const ANSWER: &str = r#"{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#;
const EVENTS: [&str; 3] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15}}\n\ndata: [DONE]\n\n",
];

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).and_then(|()| encoder.finish()).expect("memory")
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("a byte"))
        .collect()
}

/// Holds: http.content-coding
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_the_request_that_it_stands_for() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (coding, hex) in BY_OTHERS {
        let operator = gateway.operator().clone().with("content-encoding", coding);
        let made = operator.send(Method::POST, PARTNERS, bytes_of(hex)).await.expect("an answer").must(201).json();
        assert_eq!(made["name"], "compressed-".repeat(6), "{coding}");
    }
    let plain = tenant.app.clone();
    let coded = tenant.app.clone().with("content-encoding", "gzip");
    for path in [NATIVE, OPENAI] {
        let body = tenant.ask("ok");
        let of_plain = plain.post(path, &body).await.must(200);
        let of_coded = coded.send(Method::POST, path, gzip(body.to_string())).await.expect("an answer").must(200);
        let cost = |reply: &Reply| reply.header("x-ledgerway-cost-usd").to_owned();
        assert_eq!(cost(&of_coded), cost(&of_plain), "{path}");
    }
    // The upstream gets it as text.
    assert_eq!(upstream.seen().len(), 4);
    for seen in upstream.seen() {
        assert!(seen.body.get("messages").is_some(), "{:?}", seen.body);
        assert!(!seen.headers.contains_key("content-encoding"));
        assert_eq!(seen.headers.get("accept-encoding").and_then(|value| value.to_str().ok()), Some("identity"));
    }
}

/// Holds: http.content-coding
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_refused_for_what_it_is_and_costs_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let body = gzip(tenant.ask("ok").to_string());
    let bomb = gzip(vec![b' '; 64 * 1024 * 1024]);
    for (path, unsupported, invalid, too_large) in [
        (NATIVE, "UNSUPPORTED_MEDIA_TYPE", "INVALID_REQUEST", "PAYLOAD_TOO_LARGE"),
        (OPENAI, "unsupported_media_type", "", "payload_too_large"),
    ] {
        let send = async |coding: &str, body: &[u8]| {
            let app = tenant.app.clone().with("content-encoding", coding);
            app.send(Method::POST, path, body.to_vec()).await.expect("an answer")
        };
        for coding in ["compress", "gzip, gzip, gzip"] {
            let refused = send(coding, &body).await.must_be(415, unsupported);
            assert_eq!(refused.header("accept-encoding"), "br, deflate, gzip, zstd");
        }
        for (coding, body) in [("zstd", &*body), ("gzip", &body[..body.len() / 2]), ("gzip", br#"{"model":"ok"}"#)] {
            send(coding, body).await.must_be(400, invalid);
        }
        send("gzip", &bomb).await.must_be(413, too_large);
        send("gzip", &body).await.must(200);
    }
    let peak = gateway.peak_resident_kib() / 1024;
    assert!(peak < 200, "{peak} MiB");
    assert_eq!(upstream.seen().len(), 2, "the two that were right");
}

/// How an upstream answers: the coding that it names, and the bytes.
struct Coded {
    coding: &'static str,
    body: Vec<u8>,
}

async fn answer(call: &mut Call, status: &str, content_type: &str, Coded { coding, body }: &Coded) {
    call.takes_the_body().await;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    assert!(call.says([head.as_bytes(), body].concat()).await, "the gateway has closed the connection");
}

/// The request as the log has it.
async fn logged(gateway: &Gateway, reply: &Reply) -> Value {
    let (request, head) = (reply.header("x-request-id"), gateway.head().await);
    gateway.operator().get(&format!("/v1/inferences/{request}?min_position={head}")).await.must(200).json()
}

/// Holds: inf.answer-coding
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_compressed_all_the_same_is_read_and_charged_as_reported() {
    let (gateway, mock, upstream) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let tenant = Tenant::new(&gateway, &mock, &[]).await;
    tenant.add_model_at("m", &upstream.base_url()).await;
    let by_event = EVENTS.map(gzip).concat();
    for (streamed, coded) in [
        (false, Coded { coding: "gzip", body: gzip(ANSWER) }),
        // A header that a proxy has left there.
        (false, Coded { coding: "gzip", body: ANSWER.into() }),
        (true, Coded { coding: "gzip", body: gzip(EVENTS.concat()) }),
        (true, Coded { coding: "x-gzip", body: by_event }),
    ] {
        let (app, mut body) = (tenant.app.clone(), tenant.ask("m"));
        body["stream"] = json!(streamed);
        let content_type = if streamed { "text/event-stream" } else { "application/json" };
        let answered = async { answer(&mut upstream.called().await, "200 OK", content_type, &coded).await };
        let (reply, ()) = tokio::join!(app.post(OPENAI, &body), answered);
        let reply = reply.must(200);
        assert!(String::from_utf8_lossy(&reply.body).contains("hello"), "{:?}", reply.body);
        let usage = logged(&gateway, &reply).await["usage"].clone();
        assert_eq!((&usage["source"], &usage["input_uncached_tokens"]), (&json!("provider"), &json!(12)), "{usage}");
    }
    // An error's words are read as well.
    let (app, body) = (tenant.app.clone(), tenant.ask("m"));
    let words = json!({"error": {"message": "this model has no such thing", "type": "invalid_request_error"}});
    let coded = Coded { coding: "gzip", body: gzip(words.to_string()) };
    let answered = async { answer(&mut upstream.called().await, "400 Bad Request", "application/json", &coded).await };
    let (refused, ()) = tokio::join!(app.post(OPENAI, &body), answered);
    let refused = refused.must(400);
    assert!(String::from_utf8_lossy(&refused.body).contains("this model has no such thing"), "{:?}", refused.body);
}

/// Holds: inf.answer-coding
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_another_coding_is_a_fault_that_says_so() {
    let (gateway, mock, upstream) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let tenant = Tenant::new(&gateway, &mock, &[]).await;
    tenant.add_model_at("m", &upstream.base_url()).await;
    for (coded, reason) in [
        (Coded { coding: "br", body: bytes_of(BY_OTHERS[2].1) }, "coding"),
        (Coded { coding: "gzip", body: [&gzip(ANSWER)[..30], &[0xff; 60]].concat() }, "coding"),
        (Coded { coding: "gzip", body: gzip(ANSWER)[..60].to_vec() }, "truncated"),
    ] {
        let (app, body) = (tenant.app.clone(), tenant.ask("m"));
        let answered = async { answer(&mut upstream.called().await, "200 OK", "application/json", &coded).await };
        let (refused, ()) = tokio::join!(app.post(OPENAI, &body), answered);
        let refused = refused.must_be(502, "upstream_error");
        let logged = logged(&gateway, &refused).await;
        assert_eq!(logged["status"], "failed", "{logged}");
        assert_eq!(logged["attempts_failed"][0]["reason"], reason, "{logged}");
    }
}

//! Bodies that are large, many, slow, or larger once they are read: what they take is bounded, for a key, a tenant and in
//! all, and costs nobody else anything.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, OPERATOR_KEY};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

pub const MIB: usize = 1024 * 1024;
const LARGEST: usize = 32 * MIB;
/// The share of the key, where nothing is configured.
const SHARE_OF_KEY: usize = 33 * MIB;
const ANSWERED_MAX: Duration = Duration::from_secs(20);

/// How a body says how long it is, and by which protocol it comes.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Announced,
    Chunked,
    Http2,
    Http2Announced,
}

const MANNERS: [Manner; 4] = [Manner::Announced, Manner::Chunked, Manner::Http2, Manner::Http2Announced];

/// A body of spaces: so many, and then nothing more though it is not at its end.
struct Unfinished {
    left: usize,
    announced: Option<u64>,
}

impl Body for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        let piece = self.left.min(64 * 1024);
        self.left -= piece;
        Poll::Ready(Some(Ok(Frame::data(vec![b' '; piece].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends so much of a body that is said to be one byte short of the largest, where anything is said; status and code of
/// the answer.
async fn sent(gateway_port: u16, secret: String, path: String, manner: Manner, bytes: usize) -> (u16, String) {
    let announced = match manner {
        Manner::Announced | Manner::Http2Announced => Some(LARGEST as u64 - 1),
        Manner::Chunked | Manner::Http2 => None,
    };
    let is_http2 = matches!(manner, Manner::Http2 | Manner::Http2Announced);
    let client: Client<HttpConnector, Unfinished> =
        Client::builder(TokioExecutor::new()).http2_only(is_http2).build(HttpConnector::new());
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1:{gateway_port}{path}"))
        .header("authorization", format!("Bearer {secret}"))
        .header("content-type", "application/json")
        .body(Unfinished { left: bytes, announced })
        .expect("a request");
    let answer = client.request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    if status == 503 {
        assert!(answer.headers().contains_key("retry-after"), "it does not say when to come back");
    }
    let body = answer.into_body().collect().await.expect("its body").to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// Returns the bytes held by a kind of bodies, as the metrics say.
pub async fn held(gateway: &Gateway, kind: &str) -> usize {
    metric_of(gateway, &format!("ledgerway_request_body_bytes{{kind=\"{kind}\"}} ")).await
}

/// The metric whose line begins so.
pub async fn metric_of(gateway: &Gateway, line: &str) -> usize {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let value = metrics.lines().find_map(|other| other.strip_prefix(line)).expect("the metric");
    value.parse().expect("a number")
}

pub async fn until_held(gateway: &Gateway, kind: &str, is: impl Fn(usize) -> bool) {
    let began = Instant::now();
    loop {
        let bytes = held(gateway, kind).await;
        if is(bytes) {
            return;
        }
        assert!(began.elapsed() < ANSWERED_MAX, "{bytes} bytes are held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A tenant whose requests may be as large as they like.
pub async fn rich(gateway: &Gateway, upstream: &MockUpstream, models: &[&str]) -> Tenant {
    Tenant::with(
        gateway,
        upstream,
        models,
        Setup { limit_usd: "1000000", context_window: 100_000_000, ..Setup::default() },
    )
    .await
}

/// A request with so much text, and then some.
pub fn ask_with(tenant: &Tenant, model: &str, text: usize) -> Value {
    let mut body = tenant.ask(model);
    body["messages"][0]["content"] = json!("a".repeat(text));
    body
}

/// Holds: http.body-memory, http.overloaded
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_of_one_key_take_no_more_than_its_share_however_they_come() {
    const UNFINISHED: usize = 12;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, other) = (rich(&gateway, &upstream, &["ok"]).await, rich(&gateway, &upstream, &["ok"]).await);
    let (_, sibling) = tenant.new_key(&gateway, json!({})).await;
    let admin = json!({ "permissions": ["admin:access"] });
    let admin = gateway.operator().post("/v1/admin/keys", &with_user(&tenant, admin)).await.must(201).json();
    let admin = admin["secret"].as_str().expect("a secret").to_owned();
    tenant.chat("ok").await.must(200);
    let before = gateway.resident_kib();
    for manner in MANNERS {
        for (secret, path, kind, overloaded) in [
            (&tenant.secret, NATIVE, "inference", "OVERLOADED"),
            (&tenant.secret, OPENAI, "inference", "overloaded"),
            (&admin, "/v1/admin/users", "administration", "OVERLOADED"),
        ] {
            let mut unfinished = JoinSet::new();
            for _ in 0..UNFINISHED {
                unfinished.spawn(sent(gateway.port(), secret.clone(), path.to_owned(), manner, 31 * MIB));
            }
            // One of them stays; there is no room for any other.
            for _ in 1..UNFINISHED {
                let refused = tokio::time::timeout(ANSWERED_MAX, unfinished.join_next()).await;
                let refused = refused.expect("an answer in time").expect("an answer").expect("an answer");
                assert_eq!(refused, (503, overloaded.to_owned()), "{manner:?} to {path}");
            }
            until_held(&gateway, kind, |bytes| (31 * MIB..=SHARE_OF_KEY).contains(&bytes)).await;
            // Who is not of that key has its share.
            other.chat("ok").await.must(200);
            sibling.post(NATIVE, &tenant.ask("ok")).await.must(200);
            gateway.operator().post("/v1/admin/partners", &json!({ "name": "beside" })).await.must(201);
            let grown = gateway.resident_kib().saturating_sub(before) / 1024;
            assert!(grown < 80, "{grown} MiB more with {manner:?} to {path}");
            drop(unfinished);
            until_held(&gateway, kind, |bytes| bytes == 0).await;
        }
    }
    // One of the largest gets through then.
    let whole = ask_with(&tenant, "ok", LARGEST - MIB);
    tenant.app.post(OPENAI, &whole).await.must(200);
    until_held(&gateway, "inference", |bytes| bytes == 0).await;
}

fn with_user(tenant: &Tenant, mut fields: Value) -> Value {
    fields["user_id"] = json!(tenant.user);
    fields["name"] = json!("admin");
    fields
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_counted_until_its_request_has_an_answer() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = rich(&gateway, &upstream, &["gate"]).await;
    for (path, overloaded) in [(NATIVE, "OVERLOADED"), (OPENAI, "overloaded")] {
        upstream.close_gate();
        let (app, body) = (tenant.app.clone(), ask_with(&tenant, "gate", 20 * MIB));
        let seen = upstream.seen_of("gate");
        let mut running = JoinSet::new();
        let sent = body.clone();
        running.spawn(async move { app.post(path, &sent).await });
        while upstream.seen_of("gate") == seen {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(held(&gateway, "inference").await >= 20 * MIB);
        let refused = tenant.app.post(path, &body).await.must_be(503, overloaded);
        assert_eq!(refused.json()["error"]["details"]["scope"], "key");
        upstream.open_gate();
        running.join_next().await.expect("an answer").expect("an answer").must(200);
        until_held(&gateway, "inference", |bytes| bytes == 0).await;
        tenant.app.post(path, &body).await.must(200);
    }
    // A stream has been sent what it asked with once it answers.
    let stream = ask_with(&tenant, "gate", 20 * MIB);
    let mut stream_body = stream.clone();
    stream_body["stream"] = json!(true);
    let mut stream = tenant.app.stream(OPENAI, &stream_body).await.expect("a stream");
    stream.next().await.expect("an event").expect("an event");
    until_held(&gateway, "inference", |bytes| bytes == 0).await;
    stream.rest().await;
}

/// Holds: http.body-speed
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_drip_are_cut_off_and_hold_up_nobody() {
    const SLOW: usize = 200;
    const CUT_OFF: Duration = Duration::from_secs(15);
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = rich(&gateway, &upstream, &["ok"]).await;
    let mut dripping = JoinSet::new();
    for _ in 0..SLOW {
        let head = format!("{}content-length: {}\r\n\r\n", tenant.request_head(NATIVE), LARGEST);
        let mut wire = gateway.wire().await;
        dripping.spawn(async move {
            wire.send(head).await;
            let began = Instant::now();
            while began.elapsed() < CUT_OFF + Duration::from_secs(5) && wire.send([b' ']).await {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            began.elapsed()
        });
    }
    while dripping.try_join_next().is_none() {
        tenant.chat("ok").await.must(200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for listened in dripping.join_all().await {
        assert!(listened < CUT_OFF + Duration::from_secs(5), "one was listened to for {listened:?}");
    }
    until_held(&gateway, "inference", |bytes| bytes == 0).await;
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_larger_once_it_is_read_is_refused_before_it_is() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = rich(&gateway, &upstream, &["ok"]).await;
    let filled = |open: &str, element: &str, close: &str| {
        let count = (LARGEST - open.len() - close.len()) / (element.len() + 1);
        format!("{open}{}{close}", vec![element; count].join(","))
    };
    let model = tenant.model("ok");
    let messages = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":["#);
    let tools = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"tools":["#);
    for (path, body) in [
        ("/v1/admin/partners", filled(r#"{"name":["#, r#"{"a":1}"#, "]}")),
        ("/v1/admin/partners", filled(r#"{"name":["#, "[]", "]}")),
        (NATIVE, filled(&messages, r#"{"type":"text","text":""}"#, "]}]}")),
        (NATIVE, filled(&tools, r#"{"name":"a"}"#, "]}")),
    ] {
        let secret = if path == NATIVE { &tenant.secret } else { OPERATOR_KEY };
        let answer = gateway.client(Some(secret)).send(Method::POST, path, body).await.expect("an answer");
        answer.must_be(400, "INVALID_REQUEST");
    }
    let peak = gateway.peak_resident_kib() / 1024;
    assert!(peak < 150, "{peak} MiB");
}

/// Connects again and again, and sends some of a large body, then just enough not to be too slow.
async fn hoards(port: u16, request: String, until: Instant) {
    let begun = vec![b' '; 64 * 1024];
    while Instant::now() < until {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let sending = async {
            stream.write_all(request.as_bytes()).await?;
            stream.write_all(&begun).await?;
            loop {
                stream.write_all(&[b' '; 8 * 1024]).await?;
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
        };
        let sending: Result<std::io::Result<Infallible>, _> = tokio::time::timeout_at(until.into(), sending).await;
        drop(sending);
        // Refused: when it was told to come again.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_of_one_tenant_with_slow_bodies_cost_little_and_hold_up_nobody() {
    const CONNECTIONS: usize = 1000;
    const LASTS: Duration = Duration::from_secs(8);
    const MEMORY_MAX_KIB: u64 = 200 * 1024;
    const NORMAL_MAX: Duration = Duration::from_secs(3);
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, other) = (rich(&gateway, &upstream, &["ok"]).await, rich(&gateway, &upstream, &["ok"]).await);
    let until = Instant::now() + LASTS;
    let mut hoarding = JoinSet::new();
    for number in 0..CONNECTIONS {
        let length = if number % 2 == 0 {
            format!("content-length: {LARGEST}")
        } else {
            "transfer-encoding: chunked".to_owned()
        };
        let chunk = if number % 2 == 0 { "" } else { "1f00000\r\n" };
        let request =
            format!("{}{length}\r\n\r\n{chunk}", tenant.request_head(if number % 3 == 0 { OPENAI } else { NATIVE }));
        hoarding.spawn(hoards(gateway.port(), request, until));
    }
    let mut most = 0;
    while Instant::now() < until - Duration::from_secs(2) {
        let asked = Instant::now();
        other.chat("ok").await.must(200);
        assert!(asked.elapsed() < NORMAL_MAX, "a request of another tenant took {:?}", asked.elapsed());
        most = most.max(gateway.resident_kib());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = Instant::now();
    gateway.operator().delete(&format!("/v1/admin/keys/{}", tenant.key)).await.must(200);
    assert!(asked.elapsed() < Duration::from_secs(1), "the end of its key took {:?}", asked.elapsed());
    hoarding.join_all().await;
    assert!(most < MEMORY_MAX_KIB, "{} MiB", most / 1024);
    until_held(&gateway, "inference", |bytes| bytes == 0).await;
}

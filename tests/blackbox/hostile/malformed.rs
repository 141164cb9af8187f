//! Bytes that are no HTTP, or two requests in one's clothes.

use std::time::Duration;

use serde_json::Value;
use testing::upstream::MockUpstream;
use testing::wire::Response;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};

const SOON: Duration = Duration::from_secs(5);
const FOLLOWER: &str = "GET /v1/models HTTP/1.1\r\nhost: b\r\n\r\n";

/// A request, and the statuses that its answer may have.
type Case = (&'static str, String, &'static [u16]);

fn heads(tenant: &Tenant) -> Vec<Case> {
    let get = "GET /v1/models HTTP/1.1\r\nhost: a\r\n";
    let many: String = (0..400).map(|number| format!("x-{number}: 1\r\n")).collect();
    let body = tenant.ask("ok").to_string();
    let secret = &tenant.secret;
    vec![
        ("a long header", format!("{get}x: {}\r\n\r\n", "a".repeat(200_000)), &[431]),
        ("many headers", format!("{get}{many}\r\n"), &[431]),
        ("a long name", format!("{get}{}: 1\r\n\r\n", "x".repeat(70_000)), &[400, 431]),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000)), &[414, 431]),
        ("garbage in front", format!("\u{1}\u{2}\u{3} garbage\r\n\r\n{get}\r\n"), &[400]),
        ("a handshake of TLS", "\u{16}\u{3}\u{1}\u{0}\u{5}hello hello hello\r\n\r\n".to_owned(), &[400]),
        ("no version", "GET /v1/models\r\nhost: a\r\n\r\n".to_owned(), &[400]),
        ("another version", "GET /v1/models HTTP/9.9\r\nhost: a\r\n\r\n".to_owned(), &[400, 505]),
        ("space before the colon", format!("{get}x : 1\r\n\r\n"), &[400]),
        ("a line that goes on", format!("{get}x: 1\r\n 2\r\n\r\n"), &[400]),
        ("a control character", format!("{get}x: a\u{0}b\r\n\r\n"), &[400]),
        (
            "chunks of HTTP/1.0",
            format!(
                "POST {NATIVE} HTTP/1.0\r\nauthorization: Bearer {secret}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400],
        ),
        (
            "two lengths",
            format!("{}content-length: 5\r\ncontent-length: 6\r\n\r\n{body}", tenant.request_head(NATIVE)),
            &[400],
        ),
        ("a list of lengths", format!("{}content-length: 5, 6\r\n\r\n{body}", tenant.request_head(NATIVE)), &[400]),
        ("a signed length", format!("{}content-length: +5\r\n\r\n{body}", tenant.request_head(NATIVE)), &[400]),
        ("a negative length", format!("{}content-length: -5\r\n\r\n{body}", tenant.request_head(NATIVE)), &[400]),
        ("no length at all", format!("{}content-length: \r\n\r\n{body}", tenant.request_head(NATIVE)), &[400]),
        (
            "a length beyond all",
            format!("{}content-length: {}\r\n\r\n", tenant.request_head(NATIVE), "9".repeat(30)),
            &[400, 413],
        ),
        (
            "an unknown coding",
            format!("{}transfer-encoding: zip\r\n\r\n{body}", tenant.request_head(NATIVE)),
            &[400, 501],
        ),
        (
            "chunked not last",
            format!("{}transfer-encoding: chunked, identity\r\n\r\n{body}", tenant.request_head(NATIVE)),
            &[400, 501],
        ),
    ]
}

fn chunks(tenant: &Tenant) -> Vec<Case> {
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", tenant.request_head(NATIVE));
    let body = tenant.ask("ok").to_string();
    let size = body.len();
    vec![
        ("no number", format!("{head}zz\r\n{body}\r\n0\r\n\r\n"), &[400]),
        ("a negative size", format!("{head}-5\r\n{body}\r\n0\r\n\r\n"), &[400]),
        ("a size beyond all", format!("{head}{}\r\n{body}", "f".repeat(20)), &[400, 413]),
        ("a size that is too small", format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", size - 3), &[400]),
        ("no size", format!("{head}\r\n{body}\r\n0\r\n\r\n"), &[400]),
        ("an endless extension", format!("{head}{size:x};{}\r\n{body}\r\n0\r\n\r\n", "e".repeat(100_000)), &[400]),
        (
            "endless trailers",
            format!("{head}{size:x}\r\n{body}\r\n0\r\nx: {}\r\n\r\n", "e".repeat(200_000)),
            &[400, 431],
        ),
    ]
}

/// Holds: http.bounds
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_costs_its_connection() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (what, bytes, wanted) in [heads(&tenant), chunks(&tenant)].concat() {
        let mut wire = gateway.wire().await;
        wire.send(&bytes).await;
        let answer = wire.response().await;
        if let Some(answer) = &answer {
            assert!(wanted.contains(&answer.status), "{what}: {answer:?}");
            must_say_what_is_wrong(what, answer);
        }
        wire.send(FOLLOWER).await;
        wire.finish_sending().await;
        assert!(wire.response().await.is_none(), "{what}: the connection went on after it");
        gateway.client(None).get("/health/live").await.must(200);
    }
    assert!(upstream.seen().is_empty(), "sent upstream: {:?}", upstream.seen());
    let admitted = tenant.events_of(&gateway, &["inference.admitted"]).await;
    assert!(admitted.is_empty(), "{admitted:?}");
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
}

/// A code, and the id that a line of the log has as well; also of what became no request.
fn must_say_what_is_wrong(what: &str, answer: &Response) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{what}: {answer:?}"));
    let error = &body["error"];
    // The chunked ones are refused as the surface does that was asked.
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {body}");
    let codes = ["INVALID_REQUEST", "PAYLOAD_TOO_LARGE", "REQUEST_HEADER_FIELDS_TOO_LARGE"];
    assert!(error["code"].as_str().is_some_and(|code| codes.contains(&code)), "{what}: {body}");
    let id = answer.header("x-request-id");
    assert!(id.starts_with("req_") && error["request_id"] == id, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
}

/// Holds: http.request-id, http.errors
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_told_so_also_behind_requests_that_were_answered() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let many: String = (0..400).map(|number| format!("x-{number}: 1\r\n")).collect();
    let many = format!("GET /v1/models HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(65_600));
    let garbage = "\u{1}\u{2} garbage\r\n\r\n";
    for (bad, status) in [(garbage, 400), (&many, 431), (&path, 431)] {
        for before in 0..3 {
            let mut wire = gateway.wire().await;
            for _ in 0..before {
                let ask = tenant.request(NATIVE, "", &tenant.ask("ok").to_string());
                wire.send(ask).await;
                let answer = wire.response().await.expect("an answer");
                assert_eq!((answer.status, answer.header("x-request-id").is_empty()), (200, false));
                assert!(wire.is_served().await);
            }
            wire.send(bad).await;
            let answer = wire.response().await.expect("an answer");
            assert_eq!(answer.status, status, "{answer:?}");
            must_say_what_is_wrong("behind answers", &answer);
            assert_eq!(answer.header("connection"), "close");
            assert!(wire.closes_within(SOON).await, "the connection went on");
        }
    }
    let figures = gateway.client(None).get("/metrics").await.must(200);
    let figures = String::from_utf8_lossy(&figures.body).into_owned();
    let counted = "ledgerway_refusals_total{code=\"REQUEST_HEADER_FIELDS_TOO_LARGE\",reason=\"\",surface=\"open\"} 6";
    assert!(figures.contains(counted), "{figures}");
}

/// An answer that has no body of its own is not taken for one to no request, and what is sent in pieces comes as it was.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_requests_are_not_reworded() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-5"]).await;
    let mut wire = gateway.wire().await;
    let head = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", tenant.secret)
    };
    for _ in 0..3 {
        wire.send(head("HEAD", "/v1/nothing")).await;
        let refused = wire.head().await.expect("a head");
        assert!(refused.starts_with("HTTP/1.1 404") && refused.contains("x-request-id"), "{refused}");
        wire.send(tenant.request(NATIVE, "", "{")).await;
        let refused = wire.response().await.expect("an answer");
        assert_eq!(refused.status, 400);
        assert_eq!(serde_json::from_slice::<Value>(&refused.body).expect("JSON")["error"]["code"], "INVALID_REQUEST");
        wire.send(tenant.request(NATIVE, "", &tenant.ask_streamed("slow-5").to_string())).await;
        let streamed = wire.response().await.expect("an answer");
        assert!(streamed.status == 200 && streamed.body.ends_with(b"\n\n"), "{streamed:?}");
    }
    // Two at once, of which the second is refused by its path.
    wire.send(head("GET", "/v1/models") + &head("GET", "/v1/nothing") + &head("GET", "/v1/models")).await;
    for status in [200, 404, 200] {
        assert_eq!(wire.response().await.expect("an answer").status, status);
    }
}

/// A proxy in front that goes by the other of two lengths would see two requests where we see one, or the reverse.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_kinds_of_length_is_not_followed_by_another() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let body = tenant.ask("ok").to_string();
    let smuggled = tenant.request(NATIVE, "", &body);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = chunked.len() + smuggled.len();
    for lengths in [
        format!("content-length: {both}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {both}\r\n"),
    ] {
        let before = tenant.events_of(&gateway, &["inference.admitted"]).await.len();
        let mut wire = gateway.wire().await;
        wire.send(format!("{}{lengths}\r\n{chunked}{smuggled}", tenant.request_head(NATIVE))).await;
        let answer = wire.response().await.expect("an answer");
        assert!([200, 400].contains(&answer.status), "{answer:?}");
        assert!(wire.closes_within(SOON).await, "the connection went on");
        let admitted = tenant.events_of(&gateway, &["inference.admitted"]).await.len() - before;
        assert!(admitted <= 1, "{lengths}: the second request was taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_behind_a_request_does_not_spoil_its_answer() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["slow-50"]).await;
    let mut wire = gateway.wire().await;
    let ask = tenant.request(NATIVE, "", &tenant.ask("slow-50").to_string());
    wire.send(format!("{ask}\u{1}\u{2} garbage\r\n\r\n")).await;
    assert_eq!(wire.response().await.expect("an answer").status, 200);
    assert!(wire.closes_within(SOON).await, "the connection went on");
    let books = gateway.books_when_all_ended(SOON).await;
    assert_eq!(books.admitted().len(), 1);
}

//! Bytes that are no HTTP, or two requests in one's clothes.

use std::time::Duration;

use super::wire::{Wire, post, post_head};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};
use crate::upstream::MockUpstream;

const SOON: Duration = Duration::from_secs(5);
const FOLLOWER: &str = "GET /v1/models HTTP/1.1\r\nhost: b\r\n\r\n";

/// What is sent, and which statuses it may have.
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
            format!("{}content-length: 5\r\ncontent-length: 6\r\n\r\n{body}", post_head(tenant, NATIVE)),
            &[400],
        ),
        ("a list of lengths", format!("{}content-length: 5, 6\r\n\r\n{body}", post_head(tenant, NATIVE)), &[400]),
        ("a signed length", format!("{}content-length: +5\r\n\r\n{body}", post_head(tenant, NATIVE)), &[400]),
        ("a negative length", format!("{}content-length: -5\r\n\r\n{body}", post_head(tenant, NATIVE)), &[400]),
        ("no length at all", format!("{}content-length: \r\n\r\n{body}", post_head(tenant, NATIVE)), &[400]),
        (
            "a length beyond all",
            format!("{}content-length: {}\r\n\r\n", post_head(tenant, NATIVE), "9".repeat(30)),
            &[400, 413],
        ),
        (
            "an unknown coding",
            format!("{}transfer-encoding: zip\r\n\r\n{body}", post_head(tenant, NATIVE)),
            &[400, 501],
        ),
        (
            "chunked not last",
            format!("{}transfer-encoding: chunked, identity\r\n\r\n{body}", post_head(tenant, NATIVE)),
            &[400, 501],
        ),
    ]
}

fn chunks(tenant: &Tenant) -> Vec<Case> {
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", post_head(tenant, NATIVE));
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
        let mut wire = Wire::open(&gateway).await;
        wire.send(&bytes).await;
        let answer = wire.answer().await;
        if let Some(answer) = &answer {
            assert!(wanted.contains(&answer.status), "{what}: {answer:?}");
        }
        wire.send(FOLLOWER).await;
        wire.finish_sending().await;
        assert!(wire.answer().await.is_none(), "{what}: the connection went on after it");
        gateway.client(None).get("/health/live").await.must(200);
    }
    assert!(upstream.seen().is_empty(), "sent upstream: {:?}", upstream.seen());
    let admitted = tenant.events_of(&gateway, &["inference.admitted"]).await;
    assert!(admitted.is_empty(), "{admitted:?}");
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
}

/// A proxy in front that goes by the other of two lengths would see two requests where we see one, or the reverse.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_kinds_of_length_is_not_followed_by_another() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let body = tenant.ask("ok").to_string();
    let smuggled = post(&tenant, NATIVE, "", &body);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = chunked.len() + smuggled.len();
    for lengths in [
        format!("content-length: {both}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {both}\r\n"),
    ] {
        let before = tenant.events_of(&gateway, &["inference.admitted"]).await.len();
        let mut wire = Wire::open(&gateway).await;
        wire.send(format!("{}{lengths}\r\n{chunked}{smuggled}", post_head(&tenant, NATIVE))).await;
        let answer = wire.answer().await.expect("an answer");
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
    let mut wire = Wire::open(&gateway).await;
    let ask = post(&tenant, NATIVE, "", &tenant.ask("slow-50").to_string());
    wire.send(format!("{ask}\u{1}\u{2} garbage\r\n\r\n")).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    assert!(wire.closes_within(SOON).await, "the connection went on");
    let books = gateway.books_when_all_ended(SOON).await;
    assert_eq!(books.admitted().len(), 1);
}

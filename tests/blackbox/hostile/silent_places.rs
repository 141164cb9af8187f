//! More connections than there are places: silent ones lose theirs, and health, metrics and the operator always get one.
//!
//! The gateways may have 256 files open, which makes places for about 100 connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use testing::upstream::MockUpstream;
use testing::wire::Wire;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Lost};
use crate::gateway::{Gateway, OPERATOR_KEY, SHELL_FIRST};
use crate::tenant::{NATIVE, Tenant};

const FILES: u64 = 256;
/// More connections than there are places, all of them busy.
const BUSY: usize = 200;
/// For a request on a connection of its own, on a machine that also runs other tests.
const NORMAL_MAX: Duration = Duration::from_millis(1500);
const PRESSED_FOR: Duration = Duration::from_secs(3);
/// Between two looks of a client at its silent connection.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// The way of a client to keep a connection without a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    SaysNothing,
    DripsAHead,
}

/// A client that opens its connection again whenever it is closed.
async fn stay(habit: Habit, source: Ipv4Addr, address: SocketAddr) {
    loop {
        if let Ok(mut wire) = Wire::open_from(source, address).await {
            let beginning = if habit == Habit::DripsAHead { "GET /health/live HTTP/1.1\r\nx: " } else { "" };
            wire.send(beginning).await;
            while wire.is_open() && (habit == Habit::SaysNothing || wire.send("a").await) {
                sleep(LOOK_EVERY).await;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// So many clients at so many addresses of this machine.
fn crowd(gateway: &Gateway, habit: Habit, clients: u32, addresses: u32) -> JoinSet<()> {
    // This process has a socket for each.
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum }).expect("a higher limit");
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number % addresses);
        crowd.spawn(stay(habit, source, address(gateway)));
    }
    crowd
}

fn address(gateway: &Gateway) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, gateway.port()).into()
}

/// The value of a metric that has no labels.
async fn figure(gateway: &Gateway, name: &str) -> u64 {
    let page = gateway.client(None).get("/metrics").await.must(200);
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {page}"))
}

/// Asks what needs no key, on a new connection. One whose request the machine is slow to send may be ended for others: it is opened
/// again, as probes do, within the time that an answer may take.
async fn probe(gateway: &Gateway, path: &str) {
    let began = Instant::now();
    loop {
        match gateway.client(None).send(Method::GET, path, "").await {
            Ok(reply) => return drop(reply.must(200)),
            Err(Lost) => assert!(began.elapsed() < NORMAL_MAX, "{path} had no answer"),
        }
    }
}

/// Asks for a while what always has to be answered, each on a connection of its own.
async fn is_served_throughout(gateway: &Gateway) {
    let (until, mut number) = (Instant::now() + PRESSED_FOR, 0);
    while Instant::now() < until {
        let began = Instant::now();
        probe(gateway, "/health/live").await;
        let lived = began.elapsed();
        probe(gateway, "/metrics").await;
        let counted = began.elapsed();
        number += 1;
        let partner = json!({ "name": format!("p{number}") });
        operator(gateway).post("/v1/admin/partners", &partner).await.must(201);
        let commanded = began.elapsed();
        let took = [lived, counted - lived, commanded - counted];
        assert!(took.iter().all(|took| *took < NORMAL_MAX), "health, metrics and a command took {took:?}");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(figure(gateway, "ledgerway_connections_ended_for_others_total").await > 0, "nobody was in the way");
}

/// The operator, on a new connection.
fn operator(gateway: &Gateway) -> Client {
    gateway.client(Some(OPERATOR_KEY))
}

/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_lose_their_places() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let _crowd = crowd(&gateway, Habit::SaysNothing, 400, 1);
    sleep(Duration::from_secs(1)).await;
    is_served_throughout(&gateway).await;
}

/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_a_thousand_addresses_lose_their_places() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let _crowd = crowd(&gateway, Habit::SaysNothing, 1000, 1000);
    sleep(Duration::from_secs(1)).await;
    is_served_throughout(&gateway).await;
}

/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_keeps_no_place() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let _crowd = crowd(&gateway, Habit::DripsAHead, 400, 4);
    sleep(Duration::from_secs(1)).await;
    is_served_throughout(&gateway).await;
}

/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_that_only_answer_pings_keep_no_place() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let mut crowd = JoinSet::new();
    for _ in 0..300 {
        let client = gateway.client(None).over_http2();
        crowd.spawn(async move {
            loop {
                let _ = client.send(Method::GET, "/health/live", "").await;
                sleep(Duration::from_secs(2)).await;
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    is_served_throughout(&gateway).await;
}

/// Clients that have shown a key keep connections that rest; others go first.
///
/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rests_between_requests_of_a_key_outlives_a_crowd() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let ask = tenant.request(NATIVE, "", &tenant.ask("ok").to_string());
    let mut known = gateway.wire().await;
    known.send(&ask).await;
    assert_eq!(known.response().await.expect("an answer").status, 200);
    let _crowd = crowd(&gateway, Habit::SaysNothing, 400, 4);
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        known.send(&ask).await;
        assert_eq!(known.response().await.expect("it was closed").status, 200);
    }
    assert!(figure(&gateway, "ledgerway_connections_ended_for_others_total").await > 0, "nobody was in the way");
}

/// Connections whose requests wait for their bodies, with these headers, in turns from these addresses.
async fn busy_connections(gateway: &Gateway, tenant: &Tenant, more: &str, sources: &[Ipv4Addr]) -> Vec<Wire> {
    // The key is known from now on: checking it the first time takes a while.
    tenant.chat("ok").await.must(200);
    let head = format!("{}{more}content-length: 1000\r\n\r\n", tenant.request_head(NATIVE));
    let mut wires = Vec::new();
    for source in sources.iter().cycle().take(BUSY) {
        let mut wire = Wire::open_from(*source, address(gateway)).await.expect("a connection");
        wire.send(&head).await;
        wires.push(wire);
    }
    sleep(Duration::from_millis(500)).await;
    wires
}

/// A connection over HTTP/2 with one request of a key, whose client gives no room for the response.
fn unread_request(secret: &str) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_OF_HEADERS_AND_STREAM: u8 = 5;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let bytes = u8::try_from(payload.len()).expect("a short payload");
        [&[0, 0, bytes, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")][..], text.as_bytes()].concat();
    let no_window = [0, 4, 0, 0, 0, 0];
    // By their numbers in the table of HPACK: GET, http, a path, an authority and an authorization.
    let (path, key) = (text("/v1/me"), text(&format!("Bearer {secret}")));
    let head = [&[0x82, 0x86, 0x04][..], &path, &[0x01], &text("a"), &[0x0f, 0x08], &key].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    [&preface[..], &frame(SETTINGS, 0, 0, &no_window), &frame(HEADERS, END_OF_HEADERS_AND_STREAM, 1, &head)].concat()
}

/// Holds: http.silent-connections
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_responses_nobody_reads_keeps_no_places() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    // The key is known from now on: checking it the first time takes a while.
    tenant.chat("ok").await.must(200);
    let unread = unread_request(&tenant.secret);
    let mut wires = Vec::new();
    for number in 0..BUSY {
        let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number % 4).expect("below 4"));
        let mut wire = Wire::open_from(source, address(&gateway)).await.expect("a connection");
        wire.send(&unread).await;
        wires.push(wire);
    }
    sleep(Duration::from_millis(500)).await;
    let app = gateway.client(Some(&tenant.secret));
    let (began, served) = (Instant::now(), || async { app.try_post(NATIVE, &tenant.ask("ok")).await });
    assert_ne!(served().await.map(|reply| reply.status).ok(), Some(200), "all places are taken");
    while served().await.map(|reply| reply.status).ok() != Some(200) {
        assert!(began.elapsed() < Duration::from_secs(25), "no place is free");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(5), "a response may be read late");
}

/// Holds: http.reserved-connections
#[tokio::test(flavor = "multi_thread")]
async fn busy_connections_leave_the_operator_a_place() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let sources = [2, 3, 4, 5].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let busy = busy_connections(&gateway, &tenant, "", &sources).await;
    gateway.client(None).get("/health/live").await.must(200);
    assert!(figure(&gateway, "ledgerway_reserved_connections").await > 0, "the reader has one");
    operator(&gateway).post("/v1/admin/partners", &json!({ "name": "beside" })).await.must(201);
    operator(&gateway).over_http2().get("/v1/log/head").await.must(200);
    for app in [gateway.client(Some(&tenant.secret)), gateway.client(Some(&tenant.secret)).over_http2()] {
        let refused = app.post(NATIVE, &tenant.ask("ok")).await.must_be(503, "OVERLOADED");
        assert_eq!(refused.json()["error"]["details"]["scope"], "gateway");
        assert_eq!(refused.header("retry-after"), "1");
    }
    drop(busy);
    let (began, app) = (Instant::now(), gateway.client(Some(&tenant.secret)).over_http2());
    while app.try_post(NATIVE, &tenant.ask("ok")).await.map(|reply| reply.status).ok() != Some(200) {
        assert!(began.elapsed() < Duration::from_secs(5), "no place is free");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Holds: http.address-connections
#[tokio::test(flavor = "multi_thread")]
async fn busy_connections_of_one_address_leave_places_for_others() {
    let gateway = Gateway::start_with_file_limit(FILES);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let source = Ipv4Addr::new(127, 0, 0, 2);
    let _busy = busy_connections(&gateway, &tenant, "", &[source]).await;
    let mut wire = Wire::open_from(source, address(&gateway)).await.expect("a connection");
    wire.send(tenant.request(NATIVE, "", &tenant.ask("ok").to_string())).await;
    let refused = wire.response().await.expect("a refusal");
    let said = String::from_utf8_lossy(&refused.body);
    assert_eq!((refused.status, refused.header("connection")), (503, "close"), "{said}");
    assert!(said.contains("\"scope\":\"address\""), "{said}");
    gateway.client(Some(&tenant.secret)).post(NATIVE, &tenant.ask("ok")).await.must(200);
}

/// Holds: http.address-connections
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_trusted_proxy_has_a_bound_and_the_proxy_has_none() {
    let limit = format!("ulimit -n {FILES}");
    let gateway = Gateway::start_with(&[(SHELL_FIRST, &limit), ("LEDGERWAY_TRUSTED_PROXIES", "127.0.0.1")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let _busy = busy_connections(&gateway, &tenant, "x-forwarded-for: 192.0.2.1\r\n", &[Ipv4Addr::LOCALHOST]).await;
    let of = |client: &str| gateway.client(Some(&tenant.secret)).with("x-forwarded-for", client);
    let refused = of("192.0.2.1").post(NATIVE, &tenant.ask("ok")).await.must_be(503, "OVERLOADED");
    assert_eq!(refused.json()["error"]["details"]["scope"], "address");
    of("192.0.2.2").post(NATIVE, &tenant.ask("ok")).await.must(200);
    of("192.0.2.1").get("/health/live").await.must(200);
}

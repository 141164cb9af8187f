//! More connections than anybody needs.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testing::request;
use testing::upstream::MockUpstream;
use tokio::net::TcpStream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};

const CROWD: u64 = 10_000;
/// Files that this process and the gateway need besides.
const OWN_FILES: u64 = 300;
const MEMORY_MAX_KIB: u64 = 72 * 1024;
const NORMAL_MAX: Duration = Duration::from_millis(1500);

/// A gateway that is given a low limit which it may raise; this process takes all that it can get.
fn start_with_low_limit() -> Gateway {
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum: own.maximum }).expect("a lower limit");
    let gateway = Gateway::start();
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum }).expect("a higher limit");
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_hold_up_nobody() {
    let gateway = start_with_low_limit();
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let before = gateway.resident_kib();
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let crowd = CROWD.min(files - OWN_FILES);
    let mut idle = Vec::new();
    for number in 0..crowd {
        let mut wire = gateway.wire().await;
        // Who has asked once costs two of hyper's buffers more: 16 KiB.
        if number % 5 == 0 {
            assert!(wire.is_served().await, "connection {number}");
        }
        idle.push(wire);
    }
    for _ in 0..20 {
        let asked = Instant::now();
        let newcomer = gateway.client(Some(&tenant.secret));
        newcomer.post(NATIVE, &tenant.ask("ok")).await.must(200);
        assert!(asked.elapsed() < NORMAL_MAX, "a request beside them took {:?}", asked.elapsed());
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < MEMORY_MAX_KIB, "{grown} KiB more with {crowd} connections");
    // They were let in, and are there still.
    let last = idle.last_mut().expect("a connection");
    assert!(last.is_served().await, "it was closed");
}

/// Connections do not take the files that the ledger and the upstreams need.
#[tokio::test(flavor = "multi_thread")]
async fn where_files_are_few_a_crowd_takes_no_place_of_who_has_asked_and_no_file() {
    let upstream = MockUpstream::start().await;
    let gateway = Gateway::start_with_file_limit(256);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    // It has shown its key and asked for no answer of a model so far: the upstream, too, has still to be connected to.
    let mut known = gateway.wire().await;
    known.send(&format!("{}\r\n", request::head("GET", "/v1/me", &tenant.secret))).await;
    assert_eq!(known.response().await.expect("an answer").status, 200);
    let ask = tenant.request(NATIVE, "", &tenant.ask("ok").to_string());
    let mut crowd = Vec::new();
    for _ in 0..400 {
        // The kernel may be slow to answer beyond its backlog.
        let connecting = TcpStream::connect(("127.0.0.1", gateway.port()));
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(10), connecting).await {
            crowd.push(stream);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..10 {
        known.send(&ask).await;
        let answer = known.response().await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
    drop(crowd);
    let newcomer = gateway.client(Some(&tenant.secret));
    newcomer.post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
}

//! An object store that takes connections and never answers.

use std::time::{Duration, Instant};

use testing::s3::ACCESS_KEY;
use testing::upstream::MockUpstream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::PUBLISHED;
use crate::gateway::Gateway;
use crate::tenant::{Tenant, text};

/// More than there are permits for queries.
const RECEIPTS: usize = 6;
/// How long a query of another tenant may take on a busy machine: less than what waits for the store.
const QUERY_MAX: Duration = Duration::from_secs(5);
/// How long a receipt may take: the wait for room, and the reading.
const RECEIPT_MAX: Duration = Duration::from_secs(25);

/// The address of the store, and what it does.
async fn silent_store() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut store = JoinSet::new();
    store.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let (id, secret) = ACCESS_KEY;
    (format!("s3://{id}:{secret}@silent/log?endpoint=http://127.0.0.1:{port}"), store)
}

/// Holds: log.published-outage
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_wait_for_the_object_store_keep_no_other_query_waiting() {
    let (store, _running) = silent_store().await;
    let gateway = Gateway::start_with(&[PUBLISHED, ("LEDGERWAY_OBJECT_STORE_URL", &store)]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let request = text(&tenant.chat("ok").await.must(200).json()["request_id"]);
    let permissions = serde_json::json!({ "permissions": ["usage:read"] });
    let (_, reader) = tenant.new_key(&gateway, permissions.clone()).await;
    let (_, other) = other.new_key(&gateway, permissions).await;
    let (began, mut receipts) = (Instant::now(), JoinSet::new());
    for _ in 0..RECEIPTS {
        let (reader, path) = (reader.clone(), format!("/v1/inferences/{request}/receipt"));
        receipts.spawn(async move { reader.get(&path).await });
    }
    for client in [&other, &reader] {
        for _ in 0..3 {
            let asked = Instant::now();
            client.get("/v1/usage").await.must(200);
            assert!(asked.elapsed() < QUERY_MAX, "a query waited {:?}", asked.elapsed());
        }
    }
    assert!(receipts.try_join_next().is_none(), "a receipt was answered before the queries");
    for receipt in receipts.join_all().await {
        receipt.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
    }
    assert!(began.elapsed() < RECEIPT_MAX, "{:?}", began.elapsed());
}

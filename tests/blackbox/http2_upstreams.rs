//! Providers that speak HTTP/2: what one connection of theirs takes is not all that the gateway can ask, and what they
//! take in all is shared.

use std::time::Duration;

use testing::upstream::{CERTIFICATE, MockUpstream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// Without waiting for anybody else.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn start(streams_max: u32) -> (Gateway, MockUpstream) {
    (Gateway::start_with(&[("SSL_CERT_FILE", CERTIFICATE)]), MockUpstream::start_http2(streams_max).await)
}

fn ask_often(tenant: &Tenant, model: &str, count: usize) -> JoinSet<Reply> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let (app, body) = (tenant.app.clone(), tenant.ask(model));
        asked.spawn(async move { app.post(NATIVE, &body).await });
    }
    asked
}

/// Whose model it is does not matter: all may use it.
async fn must_be_served(tenant: &Tenant, owner: &Tenant) {
    let body = owner.ask("ok");
    timeout(AT_ONCE, tenant.app.post(NATIVE, &body)).await.expect("an answer at once").must(200);
}

/// Holds: inf.upstream-streams
#[tokio::test(flavor = "multi_thread")]
async fn more_is_asked_of_an_upstream_than_one_connection_of_it_takes() {
    let (gateway, upstream) = start(4).await;
    let tenant = Tenant::new(&gateway, &upstream, &["gate", "ok"]).await;
    let waiting = ask_often(&tenant, "gate", 12);
    upstream.until_seen("gate", 12).await;
    timeout(AT_ONCE, tenant.chat("ok")).await.expect("an answer at once").must(200);
    upstream.open_gate();
    for reply in waiting.join_all().await {
        reply.must(200);
    }
    assert!(gateway.books().await.open_holds().is_empty());
}

/// Holds: inf.upstream-streams
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_one_tenant_does_not_read_do_not_stall_anothers() {
    const UNREAD: usize = 280;
    let (gateway, upstream) = start(1000).await;
    let hostile = Tenant::new(&gateway, &upstream, &["flood", "ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    // HTTP/2, so that what is not read stands with the gateway and not in the buffers of sockets.
    let clients = [hostile.app.clone().over_http2(), hostile.app.clone().over_http2()];
    let mut unread = Vec::new();
    for number in 0..UNREAD {
        let stream = clients[number % 2].stream(OPENAI, &hostile.ask_streamed("flood")).await.expect("a stream");
        assert_eq!(stream.status, 200);
        unread.push(stream);
    }
    // Each fills what there is for it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    must_be_served(&other, &hostile).await;
    drop(unread);
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
}

/// Holds: inf.upstream-fair
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_asks_for_all_that_an_upstream_takes_leaves_some_for_another() {
    let (gateway, upstream) = start(1).await;
    let greedy = Tenant::new(&gateway, &upstream, &["gate", "ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    let waiting = ask_often(&greedy, "gate", 100);
    // Two thirds of 64 connections with a stream each.
    upstream.until_seen("gate", 43).await;
    for _ in 0..3 {
        must_be_served(&other, &greedy).await;
    }
    assert_eq!(upstream.seen_of("gate"), 43);
    upstream.open_gate();
    for reply in waiting.join_all().await {
        reply.must(200);
    }
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
}

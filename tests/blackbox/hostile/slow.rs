//! Heads that come a byte at a time.

use std::time::{Duration, Instant};

use testing::upstream::MockUpstream;
use testing::wire::Wire;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::tenant::Tenant;

const SLOW: usize = 300;
const BETWEEN_BYTES: Duration = Duration::from_millis(500);
/// Patience with a head that has begun, and some.
const CUT_OFF_MAX: Duration = Duration::from_secs(13);
/// For a request beside them, on a machine that also runs other tests.
const NORMAL_MAX: Duration = Duration::from_millis(1500);

/// A head that never ends; how long it was listened to.
async fn drip(mut wire: Wire, beginning: &'static str) -> Duration {
    let began = Instant::now();
    let mut head = beginning.bytes().chain(std::iter::repeat(b'a'));
    let dripping = async {
        while wire.send([head.next().expect("it has no end")]).await {
            tokio::time::sleep(BETWEEN_BYTES).await;
        }
    };
    let _ = tokio::time::timeout(CUT_OFF_MAX, dripping).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_drip_are_cut_off_and_hold_up_nobody() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut dripping = JoinSet::new();
    for number in 0..SLOW {
        let beginning = if number % 2 == 0 { "GET /v1/models HTTP/1.1\r\nx: " } else { "PRI * HTTP/2.0\r\n" };
        dripping.spawn(drip(gateway.wire().await, beginning));
    }
    // One that has already had an answer is in no hurry, until it begins; one that rests does not begin.
    dripping.spawn(drip(known(&gateway).await, "GET /health/live HTTP/1.1\r\n"));
    let mut resting = known(&gateway).await;
    while dripping.try_join_next().is_none() {
        let asked = Instant::now();
        tenant.chat("ok").await.must(200);
        assert!(asked.elapsed() < NORMAL_MAX, "a request beside them took {:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for listened in dripping.join_all().await {
        assert!(listened < CUT_OFF_MAX, "one was listened to for {listened:?}");
    }
    assert!(resting.is_served().await, "a connection that rested was closed");
}

/// A connection that has had an answer.
async fn known(gateway: &Gateway) -> Wire {
    let mut wire = gateway.wire().await;
    assert!(wire.is_served().await, "no answer");
    wire
}

//! A Redis that answers, and cannot be counted in: it is slow, a replica, or full.

use std::time::Duration;

use serde_json::json;
use testing::proxy::{Proxy, ProxyMode};
use testing::redis::RedisServer;
use testing::upstream::MockUpstream;

use super::SOON;
use super::nodes::{LimitedNodes, NODES, empty_redis};
use super::starts::limits_of;
use crate::tenant::Tenant;

/// The delay of a proxy in each direction: an answer then takes longer than the half second that a request waits for
/// it.
const LATE: ProxyMode = ProxyMode::Slow(Duration::from_millis(300));
/// An answer then takes less.
const IN_TIME: ProxyMode = ProxyMode::Slow(Duration::from_millis(150));

/// The commands that make a server accept no writes, and accept them again.
const CAUSES: [(&[&str], &[&str], &str); 2] = [
    (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "is a read-only replica"),
    (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"], "OOM"),
];

fn tell(redis: &RedisServer, words: &[&str]) {
    tokio::task::block_in_place(|| redis.ask(words));
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_redis_answers_and_cannot_count_does_not_end_the_shared_counting_of_others() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let must_end = |url: &str, cause: &str| {
        let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(url)));
        assert!(code == Some(2) && said.contains("LEDGERWAY_REDIS_URL") && said.contains(cause), "{code:?}: {said}");
    };
    for (stop_writes, _, cause) in CAUSES {
        let other = empty_redis();
        tell(&other, stop_writes);
        must_end(&other.url(), cause);
    }
    let slow = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    slow.set(LATE);
    must_end(&format!("redis://127.0.0.1:{}", slow.port), &format!("no answer from 127.0.0.1:{}", slow.port));
    assert_eq!((nodes.outages().await, limits_of(nodes.node(0)).await), (0, json!("shared")));
}

/// Nobody waits for a request to find it out.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_by_themselves_while_redis_accepts_no_writes() {
    let redis = empty_redis();
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 900 })).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    for (stop_writes, accept_writes, cause) in CAUSES {
        tell(&redis, stop_writes);
        let reason = nodes.wait_for_local_period(SOON).await;
        assert!(reason.contains(cause), "{reason}");
        tenant.chat("ok").await.must(200);
        // It would be of no use to end: nobody can count in Redis.
        let (another, _folder) = tokio::task::block_in_place(|| nodes.start_another(&redis.url()));
        assert_eq!(limits_of(&another).await, "local", "{cause}");
        tell(&redis, accept_writes);
        nodes.wait_until_shared(SOON).await;
        drop(another);
    }
}

/// To be used again, Redis need only be as fast as it must be while counts are shared, also for a node that starts.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_becomes_slow_is_left_until_it_answers_in_time() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let set_all = |mode| (0..NODES).for_each(|number| nodes.proxy(number).set(mode));
    set_all(LATE);
    let reason = nodes.wait_for_local_period(SOON).await;
    assert!(reason.contains("within 500 ms"), "{reason}");
    set_all(IN_TIME);
    nodes.wait_until_shared(SOON).await;
    let outages = nodes.outages().await;
    let slow = format!("redis://127.0.0.1:{}", nodes.proxy(0).port);
    let (another, _folder) = tokio::task::block_in_place(|| nodes.start_another(&slow));
    assert_eq!((limits_of(&another).await, nodes.outages().await), (json!("shared"), outages));
}

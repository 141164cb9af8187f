//! Outages of Redis without load: what limits do meanwhile, when counts are shared again, and where the cause is shown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::proxy::ProxyMode;
use testing::redis::RedisServer;
use testing::upstream::MockUpstream;

use super::nodes::{LimitedNodes, NODES, empty_redis};
use super::{QUIET, SOON};
use crate::configuration::said;
use crate::gateway::type_of;
use crate::shared_ledger::{command, folders, migrated, node};
use crate::tenant::{Tenant, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_limit_refuses_everything_while_redis_is_away() {
    let mut redis = empty_redis();
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let closed = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    let local = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    let scope = |tenant: &Tenant| json!({ "tenant_id": tenant.id });
    let id =
        nodes.limit(json!({ "scope": scope(&closed), "requests_per_minute": 900, "when_unshared": "closed" })).await;
    nodes.limit(json!({ "scope": scope(&local), "requests_per_minute": 900 })).await;
    nodes.wait_until_in_force(&closed.secret).await;
    for tenant in [&closed, &local] {
        tenant.chat("ok").await.must(200);
    }
    tokio::task::block_in_place(|| redis.kill());
    let refused = closed.chat("ok").await.must_be(503, "LIMITS_UNAVAILABLE");
    assert_eq!(
        (refused.json()["error"]["details"]["limit_id"].clone(), refused.header("retry-after")),
        (json!(id), "1")
    );
    let log = nodes.node(0).stderr();
    let is_named = |line: &str| line.contains("answered") && line.contains("LIMITS_UNAVAILABLE");
    assert!(log.lines().any(is_named), "the line of a failure has its code: {log}");
    local.chat("ok").await.must(200);
    assert_eq!(nodes.health(0).await["parts"]["limits"], "local");
    nodes.node(0).client(None).get("/health/ready").await.must(200);
    tokio::task::block_in_place(|| redis.start_again());
    let started = Instant::now();
    while closed.chat("ok").await.status != 200 {
        assert!(started.elapsed() < SOON, "it opens again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Such as one that starts again and again, because it cannot use Redis.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_their_counts_again_while_another_one_starts() {
    let mut redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    tokio::task::block_in_place(|| nodes.register_one_that_starts());
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_until_shared(SOON).await;
}

/// Such a node may never have a use for its share.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_not_finished_its_start_has_no_share_and_nobody_waits_for_it() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| nodes.register_one_that_says("starting"));
    nodes.proxy(1).set(ProxyMode::Refused);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    nodes.proxy(1).set(ProxyMode::Open);
    nodes.wait_until_shared(SOON).await;
    let log = nodes.log().await;
    for local in log.iter().filter(|event| type_of(event) == "access.limits_local.v1") {
        assert_eq!(local["data"]["nodes"].as_array().map(Vec::len), Some(NODES), "{local}");
    }
}

/// It was suspended when the outage began, and may have admitted what Redis has lost.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_for_an_older_one_before_they_share_their_counts_again() {
    let mut redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    tokio::task::block_in_place(|| nodes.register_an_old_one());
    tokio::task::block_in_place(|| redis.start_again());
    wait_until_all_are_ready(&nodes, &redis).await;
    // Each of them looks several times for others to wait for.
    tokio::time::sleep(QUIET).await;
    let log = nodes.log().await;
    let shared = log.iter().find(|event| type_of(event) == "access.limits_shared.v1");
    assert_eq!(shared, None, "nobody waits for the old one");
    tokio::task::block_in_place(|| nodes.remove_the_old_one());
    nodes.wait_for_event("access.limits_shared.v1", SOON).await;
    nodes.wait_until_shared(SOON).await;
}

/// Waits until all nodes say in Redis that they can share their counts.
async fn wait_until_all_are_ready(nodes: &LimitedNodes, redis: &RedisServer) {
    let started = Instant::now();
    loop {
        let log = nodes.log().await;
        let turn = log.iter().rfind(|event| type_of(event) == "access.limits_local.v1").expect("an outage");
        let key = format!("lw:{{ready}}:{}", turn["position"]);
        if tokio::task::block_in_place(|| redis.ask(&["SCARD", &key])) == NODES.to_string() {
            return;
        }
        assert!(started.elapsed() < SOON, "a node is not ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds: limits.local-cause
#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_local_period_is_shown_with_the_server() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let status = |arguments: &[&str]| {
        let (code, words) = tokio::task::block_in_place(|| {
            said(&mut command(&nodes.database_url(), &[&["status"], arguments].concat()))
        });
        assert_eq!(code, Some(0), "{words}");
        words
    };
    let json = |words: &str| serde_json::from_str::<Value>(words).expect("one object");
    assert_eq!(json(&status(&["--json"]))["local_limits"], Value::Null);
    nodes.proxy(1).set(ProxyMode::Silent);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    let log = nodes.log().await;
    let local = log.iter().find(|event| type_of(event) == "access.limits_local.v1").expect("its beginning");
    let cause = format!("no answer from 127.0.0.1:{} within 500 ms", nodes.proxy(1).port);
    assert_eq!(local["data"]["reason"], json!(cause));
    let shown = &json(&status(&["--json"]))["local_limits"];
    assert_eq!(
        (&shown["reason"], &shown["node"], &shown["began_at"]),
        (&json!(cause), &local["data"]["node"], &local["data"]["began_at"])
    );
    wait_for_signs(&nodes.database_url(), &["connected", "connected", "disconnected"]).await;
    let screen = status(&[]);
    assert!(screen.contains(", Redis disconnected"), "{screen}");
    let cut_off = text(&local["data"]["node"]);
    assert!(screen.contains(&format!("node {cut_off}: {cause}")), "{screen}");
    let report = nodes.node(0).operator().post("/v1/admin/doctor", &json!({})).await.must(200).json();
    assert_eq!(&report["local_limits"], shown);
    nodes.proxy(1).set(ProxyMode::Open);
    nodes.wait_until_shared(SOON).await;
    assert_eq!(json(&status(&["--json"]))["local_limits"], Value::Null);
}

/// Holds: limits.local-cause
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_never_reached_redis_is_shown_with_the_cause() {
    let (database, [folder]) = (migrated(), folders());
    let env = [("LEDGERWAY_REDIS_URL", "redis://127.0.0.1:1")];
    let _alone = tokio::task::block_in_place(|| node(&database.url(), folder.path(), &env));
    let status = wait_for_signs(&database.url(), &["unreached"]).await;
    assert_eq!(status["local_limits"]["reason"], "127.0.0.1:1 refused the connection");
}

/// Waits until `ledgerway status` says this of the nodes, in any order, and why they count by themselves if one is not connected.
async fn wait_for_signs(database: &str, wanted: &[&str]) -> Value {
    let started = Instant::now();
    loop {
        let (_, words) = tokio::task::block_in_place(|| said(&mut command(database, &["status", "--json"])));
        let status: Value = serde_json::from_str(&words).expect("one object");
        let nodes = status["nodes"].as_array().expect("nodes");
        let mut signs: Vec<&str> = nodes.iter().filter_map(|node| node["limit_sharing"].as_str()).collect();
        signs.sort_unstable();
        let is_explained = status["local_limits"].is_object() || wanted.iter().all(|sign| *sign == "connected");
        if signs == wanted && is_explained {
            return status;
        }
        assert!(started.elapsed() < SOON, "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

//! Outages of Redis without load: what limits do meanwhile, when counts are shared again, and where the cause is shown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::proxy::ProxyMode;
use testing::redis::{Durability, RedisServer};
use testing::upstream::MockUpstream;

use super::nodes::{LimitedNodes, NODES, empty_redis};
use super::{SOON, answered_before_a_refusal};
use crate::configuration::said;
use crate::gateway::type_of;
use crate::shared_ledger::{command, folders, migrated, node};
use crate::tenant::{Tenant, text};

/// Holds: limits.closed
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

/// One node alone, and then all, until they count together again: also what they have admitted by their shares.
///
/// Holds: limits.local-share
#[tokio::test(flavor = "multi_thread")]
async fn each_node_that_cannot_use_redis_admits_its_share_and_all_count_together_when_it_is_back() {
    for durability in [Durability::Forgets, Durability::Keeps] {
        let mut redis = tokio::task::block_in_place(|| RedisServer::start(durability));
        let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
        let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
        nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "requests_per_hour": 30 })).await;
        nodes.wait_until_in_force(&tenant.secret).await;
        nodes.proxy(1).set(ProxyMode::Refused);
        while nodes.health(1).await["parts"]["limits"] != "local" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(answered_before_a_refusal(&nodes, 1, &tenant).await, 10);
        assert_eq!(nodes.health(0).await["parts"]["limits"], "shared", "the others go on");
        tokio::task::block_in_place(|| redis.kill());
        nodes.wait_until_local(SOON).await;
        for (number, share) in [(0, 10), (1, 0), (2, 10)] {
            assert_eq!(answered_before_a_refusal(&nodes, number, &tenant).await, share);
        }
        nodes.proxy(1).set(ProxyMode::Open);
        tokio::task::block_in_place(|| redis.start_again());
        nodes.wait_until_shared(SOON).await;
        // The last that is told of is shown a moment later.
        wait_until_told(&redis).await;
        for number in 0..NODES {
            assert_eq!(answered_before_a_refusal(&nodes, number, &tenant).await, 0, "{durability:?}");
        }
    }
}

/// Waits until Redis has what every node counts of the only limit.
async fn wait_until_told(redis: &RedisServer) {
    let started = Instant::now();
    loop {
        let windows = tokio::task::block_in_place(|| {
            let key = redis.ask(&["--scan", "--pattern", "lw:*:lim_*"]);
            if key.is_empty() { String::new() } else { redis.ask(&["HKEYS", &key]) }
        });
        if windows.lines().filter(|field| field.starts_with("w:")).count() == NODES {
            return;
        }
        assert!(started.elapsed() < SOON, "a node does not say what it counts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Such a node may never have a use for its share.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_not_finished_its_start_has_no_share() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| nodes.register_one_that_says("starting"));
    nodes.proxy(1).set(ProxyMode::Refused);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    nodes.proxy(1).set(ProxyMode::Open);
    nodes.wait_until_shared(SOON).await;
    let log = nodes.log().await;
    let local: Vec<&Value> = log.iter().filter(|event| type_of(event) == "access.limits_local.v1").collect();
    let nodes_of = |event: &Value| event["data"]["nodes"].as_array().cloned().unwrap_or_default();
    assert!(local.iter().any(|event| nodes_of(event).len() == NODES), "{local:?}");
    assert!(local.iter().all(|event| !nodes_of(event).contains(&json!("says"))), "{local:?}");
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

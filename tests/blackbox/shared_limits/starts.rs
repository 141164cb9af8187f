//! Nodes that start, or that Redis refuses when it is back: which serve, and which end so that the others can share their counts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::proxy::{Proxy, ProxyMode};

use super::nodes::{LimitedNodes, NODES, empty_redis};
use super::{QUIET, SOON};
use crate::gateway::{Gateway, serve_until_it_says};
use crate::shared_ledger::{environment_of, folders, migrated, node};

/// How long a node that cannot use Redis asks again at its start, and the most that its last attempt and the end take on a busy machine.
const STARTS_MAX: Duration = Duration::from_secs(12);
/// Before the end of that.
const ASKS_AGAIN: Duration = Duration::from_secs(3);

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_redis_refuses_does_not_end_the_shared_counting_of_others() {
    let redis = empty_redis();
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", redis.port());
    let nodes = LimitedNodes::start(&redis);
    let started = Instant::now();
    let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&wrong)));
    assert!(started.elapsed() < STARTS_MAX, "it sees that the others run: {:?}", started.elapsed());
    assert!(
        code == Some(2) && said.contains("LEDGERWAY_REDIS_URL") && said.contains("refuses this user"),
        "{code:?}: {said}"
    );
    assert!(!said.contains("wr0ng"), "{said}");
    assert_eq!((nodes.outages().await, &nodes.health(0).await["parts"]["limits"]), (0, &json!("shared")));
    // Also if one of the others cannot use it.
    nodes.proxy(1).set(ProxyMode::Refused);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&wrong)));
    assert!(code == Some(2) && said.contains("refuses this user"), "{code:?}: {said}");
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_serves_although_redis_refuses_it_also_just_after_it_was_killed() {
    let redis = empty_redis();
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", redis.port());
    let (database, [folder]) = (migrated(), folders::<1>());
    let start = |url: &str| {
        tokio::task::block_in_place(|| node(&database.url(), folder.path(), &[("LEDGERWAY_REDIS_URL", url)]))
    };
    start(&redis.url()).kill();
    let node = start(&wrong);
    wait_until_it_counts_by_itself(&node).await;
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_redis_decides_although_it_is_gone_afterwards() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", proxy.port);
    let (code, said) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another_to_its_end(Some(&wrong)));
            nodes.wait_until_one_starts();
            // While it asks again.
            std::thread::sleep(QUIET);
            proxy.set(ProxyMode::Refused);
            another.join().expect("it ends")
        })
    });
    assert!(code == Some(2) && said.contains("refuses this user"), "{code:?}: {said}");
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_still_cut_off_after_a_restart_ends() {
    let redis = empty_redis();
    let mut nodes = LimitedNodes::start(&redis);
    nodes.proxy(1).set(ProxyMode::Refused);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    nodes.kill(1);
    let url = format!("redis://127.0.0.1:{}", nodes.proxy(1).port);
    let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&url)));
    let cause = format!("127.0.0.1:{} closed the connection", nodes.proxy(1).port);
    assert!(code == Some(2) && said.contains("LEDGERWAY_REDIS_URL") && said.contains(&cause), "{code:?}: {said}");
    for number in [0, 2] {
        assert_eq!(nodes.health(number).await["parts"]["limits"], "shared");
    }
}

/// Holds: limits.local-cause
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_redis_is_named_by_the_others() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let (another, _folder) =
        tokio::task::block_in_place(|| nodes.start_another(&format!("redis://127.0.0.1:{}/1", redis.port())));
    let log = another.stderr();
    let id = log.split("\"node_id\":\"").nth(1).and_then(|rest| rest.get(..16)).expect("it logs its id");
    let (began, is_named) = (Instant::now(), |line: &str| line.contains(id) && line.contains("uses another Redis"));
    while !nodes.node(0).stderr().lines().any(is_named) {
        assert!(began.elapsed() < SOON, "{}", nodes.node(0).stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let warnings = nodes.node(0).stderr().lines().filter(|line| line.contains("uses another Redis")).count();
    assert_eq!(warnings, 1, "nobody else is named");
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_at_its_start_ends_at_a_signal() {
    let (database, [folder]) = (migrated(), folders());
    let mut env = environment_of(&database.url());
    env.push(("LEDGERWAY_REDIS_URL", "redis://127.0.0.1:1".to_owned()));
    let (code, took) = tokio::task::block_in_place(|| {
        serve_until_it_says("this node cannot use Redis: trying again", folder.path(), &env)
    });
    assert!(code == Some(0) && took < ASKS_AGAIN, "{code:?} after {took:?}");
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_alone_gets_no_answer_from_redis_does_not_end_the_shared_counting_of_others() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let silent = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    silent.set(ProxyMode::Silent);
    let unanswered = format!("no answer from 127.0.0.1:{}", silent.port);
    for (port, cause) in [(1, "127.0.0.1:1 refused the connection"), (silent.port, unanswered.as_str())] {
        let wrong = format!("redis://:s3cret-word@127.0.0.1:{port}");
        let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&wrong)));
        assert!(code == Some(2) && said.contains("LEDGERWAY_REDIS_URL") && said.contains(cause), "{code:?}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    assert_eq!((nodes.outages().await, &nodes.health(0).await["parts"]["limits"]), (0, &json!("shared")));
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_when_redis_goes_serves_as_the_others_do() {
    let mut redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let refused = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    refused.set(ProxyMode::Refused);
    let url = format!("redis://127.0.0.1:{}", refused.port);
    let another = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another(&url));
            nodes.wait_until_one_starts();
            // It has begun to ask.
            std::thread::sleep(QUIET / 2);
            redis.kill();
            another.join().expect("it serves")
        })
    });
    let (another, _folder) = another;
    wait_until_it_counts_by_itself(&another).await;
    refused.set(ProxyMode::Open);
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_until_shared(SOON).await;
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_shares_its_counts_once_redis_answers_it() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let late = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    late.set(ProxyMode::Refused);
    let url = format!("redis://127.0.0.1:{}", late.port);
    let (another, _folder) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another(&url));
            nodes.wait_until_one_starts();
            std::thread::sleep(ASKS_AGAIN);
            late.set(ProxyMode::Open);
            another.join().expect("it serves")
        })
    });
    assert_eq!(limits_of(&another).await, "shared");
    assert_eq!(nodes.outages().await, 0);
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_while_redis_is_away_all_serve() {
    let (database, folders) = (migrated(), folders::<3>());
    let started: Vec<Gateway> = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let start = |folder| {
                let database = &database;
                let env = [("LEDGERWAY_REDIS_URL", "redis://127.0.0.1:1")];
                scope.spawn(move || node(&database.url(), folder, &env))
            };
            let starts: Vec<_> = folders.iter().map(|folder| start(folder.path())).collect();
            starts.into_iter().map(|start| start.join().expect("it serves")).collect()
        })
    });
    for node in &started {
        wait_until_it_counts_by_itself(node).await;
    }
}

/// Holds: limits.all-nodes-share
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_does_not_start_beside_nodes_that_share_their_counts() {
    let mut redis = empty_redis();
    let mut nodes = LimitedNodes::start(&redis);
    let refused = |nodes: &LimitedNodes| {
        let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(None));
        let is_named = said.contains("ledgerway: LEDGERWAY_REDIS_URL is not set") && said.contains("shares its counts");
        assert!(code == Some(2) && is_named, "{code:?}: {said}");
    };
    refused(&nodes);
    assert_eq!((nodes.outages().await, &nodes.health(0).await["parts"]["limits"]), (0, &json!("shared")));
    // In an outage neither: the others share their counts after it.
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    refused(&nodes);
    // Those that have died are listed for a while.
    (0..NODES).for_each(|number| nodes.kill(number));
    let [folder] = folders();
    let alone = tokio::task::block_in_place(|| node(&nodes.database_url(), folder.path(), &[]));
    assert_eq!(limits_of(&alone).await, "off");
}

/// So that one with a wrong address does not keep the others of an installation without Redis from being restarted.
///
/// Holds: limits.redis-off
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_starts_beside_one_that_has_never_reached_its_own() {
    let (database, [wrong, without]) = (migrated(), folders());
    let start = |folder: &tempfile::TempDir, env: &[(&'static str, &str)]| {
        tokio::task::block_in_place(|| node(&database.url(), folder.path(), env))
    };
    let wrong = start(&wrong, &[("LEDGERWAY_REDIS_URL", "redis://127.0.0.1:1")]);
    wait_until_it_counts_by_itself(&wrong).await;
    let without = start(&without, &[]);
    assert_eq!(limits_of(&without).await, "off");
}

/// Simulates a cluster whose other nodes are being replaced by such nodes.
///
/// Holds: limits.redis-off
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_redis_is_off_serves_beside_nodes_that_share_their_counts() {
    let redis = empty_redis();
    let nodes = LimitedNodes::start(&redis);
    let (off, _folder) = tokio::task::block_in_place(|| nodes.start_another("off"));
    assert_eq!(limits_of(&off).await, "off");
    assert!(off.stderr().contains("LEDGERWAY_REDIS_URL is off"), "{}", off.stderr());
    assert_eq!((nodes.outages().await, &nodes.health(0).await["parts"]["limits"]), (0, &json!("shared")));
}

/// Holds: limits.all-nodes-share
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_redis_says_so_if_nodes_without_it_run() {
    let redis = empty_redis();
    let (database, folders) = (migrated(), folders::<3>());
    let start = |number: usize, env: &[(&'static str, &str)]| {
        tokio::task::block_in_place(|| node(&database.url(), folders[number].path(), env))
    };
    let mut without = start(0, &[]);
    let (url, warning) = (redis.url(), "nodes without a Redis run beside this one");
    let with = [("LEDGERWAY_REDIS_URL", url.as_str())];
    let beside = start(1, &with);
    assert!(beside.stderr().contains(warning), "{}", beside.stderr());
    without.stop();
    let alike = start(2, &with);
    assert!(!alike.stderr().contains(warning), "{}", alike.stderr());
}

async fn wait_until_it_counts_by_itself(node: &Gateway) {
    let began = Instant::now();
    while limits_of(node).await != "local" {
        assert!(began.elapsed() < SOON, "it counts by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How a node says that it counts.
pub async fn limits_of(node: &Gateway) -> Value {
    node.client(None).get("/health").await.json()["parts"]["limits"].clone()
}

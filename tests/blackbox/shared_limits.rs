//! Rate limits that three nodes count together in Redis: no window by the log's admissions holds more than the limit and one
//! request a node, whatever becomes of Redis. `SHARED_LIMITS_SECONDS=180` makes a long run, in which the windows slide.

mod nodes;
mod windows;

use std::io::Read;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use events::time::{Clock, SystemClock};
use serde_json::{Value, json};
use testing::proxy::{Proxy, ProxyMode};
use testing::redis::{Durability, RedisServer};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::configuration::said;
use crate::gateway::{Gateway, type_of};
use crate::shared_ledger::{command, folders, migrated, node};
use crate::shared_limits::nodes::{Asking, LimitedNodes, NODES};
use crate::shared_limits::windows::{Measured, fullest_window, instant, largest_reservation, used_tokens};
use crate::tenant::{NATIVE, Setup, Tenant, text};

const CLIENTS_PER_NODE: usize = 4;
const REQUESTS_PER_MINUTE: u64 = 240;
/// Short enough that clients ask for many times the limit.
const PAUSE: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(60);
const TOKENS_PER_MINUTE: u64 = 6_000;
/// Asked under a limit of tokens: its requests run for so long that others are counted meanwhile.
const SLOW: &str = "slow-400";
/// Longer than a request runs.
const QUIET: Duration = Duration::from_secs(2);
/// On a machine so busy that Redis does not answer in time, nodes count by themselves for a while. A test that is about other
/// outages, or none, then runs again.
const RUNS_MAX: usize = 5;
/// How long a node that cannot use Redis waits for nodes that have died.
const DEAD_NODE_LISTED_MAX: Duration = Duration::from_secs(12);
/// How late a node that is under load may see that Redis has gone.
const BUSY: TimeDelta = TimeDelta::seconds(10);

fn seconds() -> u64 {
    std::env::var("SHARED_LIMITS_SECONDS").ok().and_then(|value| value.parse().ok()).unwrap_or(16)
}

/// What happens to Redis in mid-load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// It is killed, and starts again with or without what it had counted.
    Killed(Durability),
    /// It loses all that it has counted, and nothing else.
    Flushed,
    /// One node cannot reach it.
    CutOff,
}

async fn a_limit_holds_through(outage: Outage) {
    let durability = if let Outage::Killed(durability) = outage { durability } else { Durability::Forgets };
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(durability));
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": REQUESTS_PER_MINUTE })).await;
    nodes.wait_until_in_force(&tenant.secret).await;

    // A part of the limit is used when Redis goes.
    let asking = Asking::start(&nodes, &tenant, CLIENTS_PER_NODE, Duration::from_millis(900));
    let phase = Duration::from_secs(seconds()) / 4;
    tokio::time::sleep(phase).await;
    match outage {
        Outage::Killed(_) => tokio::task::block_in_place(|| redis.kill()),
        Outage::Flushed => drop(tokio::task::block_in_place(|| redis.ask(&["FLUSHALL"]))),
        Outage::CutOff => nodes.proxy(1).set(ProxyMode::Silent),
    }
    asking.pause_between(PAUSE);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    tokio::time::sleep(phase).await;
    match outage {
        Outage::Killed(_) => tokio::task::block_in_place(|| redis.start_again()),
        Outage::Flushed => {}
        Outage::CutOff => nodes.proxy(1).set(ProxyMode::Open),
    }
    nodes.wait_for_event("access.limits_shared.v1", SOON).await;
    tokio::time::sleep(phase * 2).await;
    let (answered, refused) = asking.stop().await;

    let log = nodes.log().await;
    let (fullest, _) = fullest_window(&log, Measured::Requests, Duration::from_mins(1));
    assert!(fullest <= REQUESTS_PER_MINUTE + NODES as u64, "{outage:?}: {fullest} in a minute");
    assert!(fullest >= REQUESTS_PER_MINUTE / 2, "{fullest} in a minute: the limit is used");
    assert!(answered > 0 && refused > 50, "{answered} answered, {refused} refused");
    let local = log.iter().find(|event| type_of(event) == "access.limits_local.v1").expect("its beginning");
    let shared = log.iter().rfind(|event| type_of(event) == "access.limits_shared.v1").expect("its end");
    assert_eq!(local["data"]["nodes"].as_array().map(Vec::len), Some(NODES), "{local}");
    assert!(shared["data"]["ends"].is_u64() && shared["data"]["began_at"].is_string(), "{shared}");
    let position = |event: &Value| event["position"].as_u64().expect("a position");
    let (began, ended) = (position(local), position(shared));
    let admitted: Vec<&Value> = log.iter().filter(|event| type_of(event) == "inference.admitted.v1").collect();
    let alone = admitted.iter().filter(|admitted| (began..ended).contains(&position(admitted))).count();
    // Those that the window still held when the local period began: it keeps them for up to two seconds longer.
    let window_began = instant(&local["recorded_at"]) - TimeDelta::seconds(62);
    let is_in_window = |event: &&&Value| position(event) < began && instant(&event["recorded_at"]) > window_began;
    let before = admitted.iter().filter(is_in_window).count() as u64;
    // While a node that is cut off waits for Redis' answer, the others may use up the limit.
    let was_used_up = outage == Outage::CutOff && before + NODES as u64 >= REQUESTS_PER_MINUTE;
    assert!(alone > 0 || was_used_up, "requests are admitted while each node counts by itself: {before} before");
    nodes.wait_until_shared(SOON).await;
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_dies_and_comes_back_empty() {
    a_limit_holds_through(Outage::Killed(Durability::Forgets)).await;
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_dies_and_comes_back_with_what_it_had() {
    a_limit_holds_through(Outage::Killed(Durability::Keeps)).await;
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_loses_its_counts_without_a_word() {
    a_limit_holds_through(Outage::Flushed).await;
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_one_node_is_cut_off_from_redis() {
    a_limit_holds_through(Outage::CutOff).await;
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_admitted_before_it_died_counts_when_redis_comes_back_empty() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (mut nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 60 })).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    tokio::task::block_in_place(|| redis.kill());
    let share = answered_before_a_refusal(&nodes, 1, &tenant).await;
    assert!(share >= 20, "a third of the limit: {share}");
    nodes.kill(1);
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_for_event("access.limits_shared.v1", SOON).await;
    for number in [0, 2] {
        answered_before_a_refusal(&nodes, number, &tenant).await;
    }
    let (fullest, _) = fullest_window(&nodes.log().await, Measured::Requests, Duration::from_mins(1));
    assert!((40..=60 + NODES as u64).contains(&fullest), "{fullest} in a minute");
}

async fn answered_before_a_refusal(nodes: &LimitedNodes, number: usize, tenant: &Tenant) -> u64 {
    let (app, mut answered) = (nodes.node(number).client(Some(&tenant.secret)), 0);
    loop {
        let reply = app.post(NATIVE, &tenant.ask("ok")).await;
        match reply.status {
            200 => answered += 1,
            429 => return answered,
            // The machine is so busy that a node did not hear from the database for a second.
            503 => tokio::time::sleep(PAUSE).await,
            status => panic!("{status}: {}", reply.json()),
        }
    }
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_have_one_limit_of_requests_and_one_of_tokens() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    for _ in 0..RUNS_MAX {
        let outages = nodes.outages().await;
        let (requests, tokens) = limits_that_are_used_up(&nodes, &upstream).await;
        if nodes.outages().await > outages {
            nodes.wait_until_shared(SOON).await;
            continue;
        }
        let (fullest, _) = fullest_window(&requests, Measured::Requests, Duration::from_mins(1));
        assert_eq!(fullest, 90, "nodes that count together use the whole limit, and no more");
        let (fullest, _) = fullest_window(&tokens, Measured::Tokens, Duration::from_mins(1));
        assert!(fullest <= TOKENS_PER_MINUTE, "{fullest} tokens in a minute");
        assert!(used_tokens(&tokens) >= TOKENS_PER_MINUTE / 2, "{} tokens are used", used_tokens(&tokens));
        return;
    }
    panic!("Redis does not answer");
}

/// The events of a tenant with a limit of requests, and of one with a limit of tokens, when they are used up.
async fn limits_that_are_used_up(nodes: &LimitedNodes, upstream: &MockUpstream) -> (Vec<Value>, Vec<Value>) {
    let requests = Tenant::new(nodes.node(0), upstream, &["ok"]).await;
    let tokens = Tenant::new(nodes.node(0), upstream, &[SLOW]).await;
    nodes.limit(json!({ "scope": { "tenant_id": requests.id }, "requests_per_minute": 90 })).await;
    nodes.limit(json!({ "scope": { "tenant_id": tokens.id }, "tokens_per_minute": TOKENS_PER_MINUTE })).await;
    nodes.wait_until_in_force(&requests.secret).await;
    nodes.wait_until_in_force(&tokens.secret).await;
    let all = [(&requests, "ok"), (&tokens, SLOW)].map(|of| Asking::start_with(nodes, of, CLIENTS_PER_NODE, PAUSE));
    for asking in &all {
        asking.wait_until_used_up(QUIET, SOON).await;
    }
    for asking in all {
        asking.stop().await;
    }
    let log = nodes.log().await;
    (of_tenant(&log, &requests), of_tenant(&log, &tokens))
}

fn of_tenant(log: &[Value], tenant: &Tenant) -> Vec<Value> {
    log.iter().filter(|event| event["tenant_id"] == json!(tenant.id)).cloned().collect()
}

/// Holds: limits.shared-window
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_tokens_and_closed_ones_hold_under_load_when_redis_dies() {
    for _ in 0..RUNS_MAX {
        if tokens_and_closed_limits_hold_when_redis_dies().await {
            return;
        }
    }
    panic!("Redis does not answer");
}

/// Returns false if there was another outage.
async fn tokens_and_closed_limits_hold_when_redis_dies() -> bool {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tokens = Tenant::new(nodes.node(0), &upstream, &[SLOW]).await;
    let closed = Tenant::with(nodes.node(0), &upstream, &["ok"], Setup { limit_usd: "1000", ..Setup::default() }).await;
    nodes.limit(json!({ "scope": { "tenant_id": tokens.id }, "tokens_per_minute": TOKENS_PER_MINUTE })).await;
    let limit =
        json!({ "scope": { "tenant_id": closed.id }, "requests_per_minute": 60_000, "when_unshared": "closed" });
    nodes.limit(limit).await;
    nodes.wait_until_in_force(&tokens.secret).await;
    nodes.wait_until_in_force(&closed.secret).await;

    let of_tokens = Asking::start_with(&nodes, (&tokens, SLOW), CLIENTS_PER_NODE, PAUSE);
    let of_closed = Asking::start(&nodes, &closed, 1, PAUSE * 5);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let clock = SystemClock::new();
    let killed_at = clock.now();
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started_at = clock.now();
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_for_event("access.limits_shared.v1", SOON).await;
    of_tokens.wait_until_used_up(QUIET, SOON).await;
    of_tokens.stop().await;
    of_closed.stop().await;

    let log = nodes.log().await;
    let of_type = |of_type: &str| -> Vec<&Value> { log.iter().filter(|event| type_of(event) == of_type).collect() };
    let [shared] = of_type("access.limits_shared.v1")[..] else { return false };
    let local = of_type("access.limits_local.v1")[0];
    let (began_at, ended_at) = (instant(&shared["data"]["began_at"]), instant(&shared["data"]["ended_at"]));
    if began_at < killed_at {
        return false;
    }
    assert_eq!(local["data"]["began_at"], shared["data"]["began_at"]);
    assert!(began_at - killed_at < BUSY, "killed at {killed_at}, and away since {began_at}");
    assert!(ended_at > started_at && ended_at <= instant(&shared["recorded_at"]), "{started_at}: {shared}");

    let of_tokens = of_tenant(&log, &tokens);
    let (fullest, _) = fullest_window(&of_tokens, Measured::Tokens, Duration::from_mins(1));
    let one_request_a_node = largest_reservation(&of_tokens) * NODES as u64;
    assert!(fullest <= TOKENS_PER_MINUTE + one_request_a_node, "{fullest} tokens in a minute");
    assert!(used_tokens(&of_tokens) >= TOKENS_PER_MINUTE / 2, "{} tokens are used", used_tokens(&of_tokens));

    let position = |event: &Value| event["position"].as_u64().expect("a position");
    let of_closed = of_tenant(&log, &closed);
    let admitted: Vec<u64> =
        of_closed.iter().filter(|event| type_of(event) == "inference.admitted.v1").map(position).collect();
    let before = admitted.iter().filter(|at| **at < position(local)).count();
    let after = admitted.iter().filter(|at| **at > position(shared)).count();
    assert!(before > 0 && after > 0, "{before} before, {after} after");
    assert_eq!(before + after, admitted.len(), "a closed limit admits nothing in an outage");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_limit_refuses_everything_while_redis_is_away() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
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

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_redis_refuses_does_not_end_the_shared_counting_of_others() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", redis.port());
    let nodes = LimitedNodes::start(&redis);
    let started = Instant::now();
    let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&wrong)));
    assert!(started.elapsed() < DEAD_NODE_LISTED_MAX, "it sees that the others run: {:?}", started.elapsed());
    assert!(
        code == Some(2) && said.contains("LEDGERWAY_REDIS_URL") && said.contains("refuses this user"),
        "{code:?}: {said}"
    );
    assert!(!said.contains("wr0ng"), "{said}");
    assert_eq!((nodes.outages().await, &nodes.health(0).await["parts"]["limits"]), (0, &json!("shared")));
    // In an outage neither: nobody could share after it.
    nodes.proxy(1).set(ProxyMode::Refused);
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    let (code, said) = tokio::task::block_in_place(|| nodes.start_another_to_its_end(Some(&wrong)));
    assert!(code == Some(2) && said.contains("refuses this user"), "{code:?}: {said}");
    nodes.proxy(1).set(ProxyMode::Open);
    nodes.wait_until_shared(SOON).await;
}

/// Such as one that starts again and again, because it cannot use Redis.
///
/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_their_counts_again_while_another_one_starts() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    tokio::task::block_in_place(|| nodes.register_one_that_starts());
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_until_shared(SOON).await;
}

/// It was suspended when the outage began, and may have admitted what Redis has lost.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_for_an_older_one_before_they_share_their_counts_again() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
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

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_serves_although_redis_refuses_it_also_just_after_it_was_killed() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", redis.port());
    let (database, [folder]) = (migrated(), folders::<1>());
    let start = |url: &str| {
        tokio::task::block_in_place(|| node(&database.url(), folder.path(), &[("LEDGERWAY_REDIS_URL", url)]))
    };
    start(&redis.url()).kill();
    let node = start(&wrong);
    let started = Instant::now();
    while node.client(None).get("/health").await.json()["parts"]["limits"] != "local" {
        assert!(started.elapsed() < SOON, "it counts by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Holds: limits.all-nodes-share
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_does_not_start_beside_nodes_that_share_their_counts() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
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
    assert_eq!(alone.client(None).get("/health").await.json()["parts"]["limits"], "off");
}

/// Holds: limits.all-nodes-share
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_redis_says_so_if_nodes_without_it_run() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (database, folders) = (migrated(), folders::<3>());
    let start = |number: usize, env: &[(&'static str, &str)]| {
        tokio::task::block_in_place(|| node(&database.url(), folders[number].path(), env))
    };
    let mut without = start(0, &[]);
    let (url, warning) = (redis.url(), "nodes without LEDGERWAY_REDIS_URL run beside this one");
    let with = [("LEDGERWAY_REDIS_URL", url.as_str())];
    let beside = start(1, &with);
    assert!(beside.stderr().contains(warning), "{}", beside.stderr());
    without.stop();
    let alike = start(2, &with);
    assert!(!alike.stderr().contains(warning), "{}", alike.stderr());
}

/// Holds: limits.unreachable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_alone_gets_no_answer_from_redis_does_not_end_the_shared_counting_of_others() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
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
async fn a_refusal_by_redis_decides_although_it_is_gone_afterwards() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let nodes = LimitedNodes::start(&redis);
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", proxy.port);
    let (code, said) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another_to_its_end(Some(&wrong)));
            // Within the three seconds in which it asks.
            std::thread::sleep(QUIET);
            proxy.set(ProxyMode::Refused);
            another.join().expect("it ends")
        })
    });
    assert!(code == Some(2) && said.contains("refuses this user"), "{code:?}: {said}");
}

/// Holds: limits.unreachable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_when_redis_goes_serves_as_the_others_do() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let nodes = LimitedNodes::start(&redis);
    let refused = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    refused.set(ProxyMode::Refused);
    let url = format!("redis://127.0.0.1:{}", refused.port);
    let another = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another(&url));
            // It has begun to ask.
            std::thread::sleep(QUIET);
            redis.kill();
            another.join().expect("it serves")
        })
    });
    let (another, _folder) = another;
    assert_eq!(another.client(None).get("/health").await.json()["parts"]["limits"], "local");
    refused.set(ProxyMode::Open);
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_until_shared(SOON).await;
}

/// Holds: limits.unreachable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_shares_its_counts_once_redis_answers_it() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let nodes = LimitedNodes::start(&redis);
    let late = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    late.set(ProxyMode::Refused);
    let url = format!("redis://127.0.0.1:{}", late.port);
    let (another, _folder) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let another = scope.spawn(|| nodes.start_another(&url));
            std::thread::sleep(QUIET * 2);
            late.set(ProxyMode::Open);
            another.join().expect("it serves")
        })
    });
    assert_eq!(another.client(None).get("/health").await.json()["parts"]["limits"], "shared");
    assert_eq!(nodes.outages().await, 0);
}

/// Holds: limits.unreachable-redis
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
        let began = Instant::now();
        while node.client(None).get("/health").await.json()["parts"]["limits"] != "local" {
            assert!(began.elapsed() < SOON, "it counts by itself");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Holds: limits.unusable-redis
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_redis_refuses_when_it_is_back_ends_and_the_others_share_their_counts_again() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let wrong = format!("redis://nobody:wr0ng-word@127.0.0.1:{}", redis.port());
    let nodes = LimitedNodes::start(&redis);
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_for_event("access.limits_local.v1", SOON).await;
    let (mut another, _folder) = tokio::task::block_in_place(|| nodes.start_another(&wrong));
    tokio::task::block_in_place(|| redis.start_again());
    let ended = tokio::task::block_in_place(|| another.wait_for_end(SOON));
    let said = another.stderr();
    assert!(ended.code() == Some(2) && said.contains("LEDGERWAY_REDIS_URL"), "{ended:?}: {said}");
    assert!(said.contains("refuses this user") && !said.contains("wr0ng"), "{said}");
    nodes.wait_until_shared(SOON).await;
}

/// Holds: limits.local-cause
#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_local_period_is_shown_with_the_server() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
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
    let screen = status(&[]);
    let node = text(&local["data"]["node"]);
    assert!(screen.contains(&format!("node {node}: {cause}")), "{screen}");
    let report = nodes.node(0).operator().post("/v1/admin/doctor", &json!({})).await.must(200).json();
    assert_eq!(&report["local_limits"], shown);
    nodes.proxy(1).set(ProxyMode::Open);
    nodes.wait_until_shared(SOON).await;
    assert_eq!(json(&status(&["--json"]))["local_limits"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_a_node_that_dies_are_free_for_others() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (mut nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok", "gate"]).await;
    nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "concurrent_requests": 2 })).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    let mut running = JoinSet::new();
    for _ in 0..2 {
        let (app, body) = (nodes.node(1).client(Some(&tenant.secret)), tenant.ask("gate"));
        running.spawn(async move { app.try_post(NATIVE, &body).await });
    }
    while upstream.seen_of("gate") < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    // For longer than a lease: a node that lives keeps its places.
    tokio::time::sleep(Duration::from_secs(6)).await;
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    nodes.kill(1);
    let killed = Instant::now();
    while tenant.chat("ok").await.status != 200 {
        assert!(killed.elapsed() < SOON, "the places of a dead node are free");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tenant.chat("ok").await.must(200);
    let log = nodes.log().await;
    assert!(!log.iter().any(|event| type_of(event).starts_with("access.limits_")), "Redis was never away");
}

/// Holds: limits.no-money-in-redis
#[tokio::test(flavor = "multi_thread")]
async fn no_money_is_ever_in_redis() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let mut monitor = redis.monitor();
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 60, "tokens_per_day": 1_000_000,
                        "concurrent_requests": 9 });
    let limit = nodes.limit(limit).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    for _ in 0..5 {
        tenant.chat("ok").await.must(200);
    }
    monitor.kill().expect("it runs");
    monitor.wait().expect("its end");
    let mut said = String::new();
    monitor.stdout.take().expect("its output").read_to_string(&mut said).expect("what it saw");
    assert!(said.contains(&limit) && said.contains("tokens_per_day"), "{said}");
    for money in [&tenant.budget, "usd", "budget", &tenant.secret, &tenant.name] {
        assert!(!said.contains(money), "{money}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_what_all_nodes_have_left() {
    let redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets));
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    // On a machine so busy that Redis does not answer in time, nodes count by themselves for a while.
    for _ in 0..5 {
        let outages = nodes.outages().await;
        let left = what_is_said_to_be_left(&nodes, &upstream).await;
        if nodes.outages().await == outages {
            assert_eq!(left, ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0", "0"]);
            return;
        }
        nodes.wait_until_shared(SOON).await;
    }
    panic!("Redis does not answer");
}

/// By one node after the other: ten requests fit, and the last is refused.
async fn what_is_said_to_be_left(nodes: &LimitedNodes, upstream: &MockUpstream) -> Vec<String> {
    let tenant = Tenant::new(nodes.node(0), upstream, &["ok"]).await;
    nodes.limit(json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 10 })).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    let mut left = Vec::new();
    for number in 0..11 {
        let app = nodes.node(number % NODES).client(Some(&tenant.secret));
        let reply = app.post(NATIVE, &tenant.ask("ok")).await;
        left.push(reply.header("x-ratelimit-remaining").to_owned());
    }
    left
}

//! Rate limits that three nodes count together in Redis: no window by the log's admissions holds more than docs/limits.md says, whatever
//! becomes of Redis. `SHARED_LIMITS_SECONDS=180` makes a long run, in which the windows slide.

mod no_writes;
mod nodes;
mod outages;
mod starts;
mod windows;

use std::io::Read;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use events::time::{Clock, SystemClock};
use serde_json::{Value, json};
use testing::proxy::ProxyMode;
use testing::redis::{Durability, RedisServer};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::gateway::type_of;
use crate::shared_limits::nodes::{Asking, LimitedNodes, NODES, empty_redis};
use crate::shared_limits::windows::{Measured, fullest_window, instant, largest_reservation, used_tokens};
use crate::tenant::{NATIVE, Setup, Tenant, made, text};

const CLIENTS_PER_NODE: usize = 4;
const REQUESTS_PER_MINUTE: u64 = 240;
/// Short enough that clients ask for many times the limit.
const PAUSE: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(60);
const TOKENS_PER_MINUTE: u64 = 3_000;
/// The output cap of a request under a limit of tokens. The less is reserved in vain, the sooner a limit is used up: towards its end
/// only one request at a time has room.
const OUTPUT_CAP: u64 = 24;
/// Asked under a limit of tokens: its requests run for so long that others are counted meanwhile.
const SLOW: &str = "slow-400";
/// Longer than a request runs.
const QUIET: Duration = Duration::from_secs(2);
/// On a machine so busy that Redis does not answer in time, nodes count by themselves for a while. A test that is about other
/// outages, or none, then runs again.
const RUNS_MAX: usize = 5;
/// Time until counts made before Redis went are recorded.
const DECIDED_BEFORE: TimeDelta = TimeDelta::milliseconds(250);
/// How late a node that is under load may see that Redis has gone.
const BUSY: TimeDelta = TimeDelta::seconds(10);

fn seconds() -> u64 {
    std::env::var("SHARED_LIMITS_SECONDS").ok().and_then(|value| value.parse().ok()).unwrap_or(16)
}

/// The failure of Redis in mid-load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// Killed, and started again with or without what it had counted.
    Killed(Durability),
    /// Flushed: it loses all that it has counted, and nothing else.
    Flushed,
    /// One node cannot reach it.
    CutOff,
}

/// The most that a window may hold, as docs/limits.md says, if Redis loses its counts so often, no node ends, and the largest request
/// reserves so much.
fn most(limit: u64, losses: u64, largest: u64) -> u64 {
    let share = (limit / NODES as u64).max(largest);
    limit * (1 + losses) + share * (NODES as u64 - 1 - losses)
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
    let local_nodes = match outage {
        Outage::Killed(_) => {
            tokio::task::block_in_place(|| redis.kill());
            NODES
        }
        Outage::Flushed => {
            tokio::task::block_in_place(|| redis.ask(&["FLUSHALL"]));
            1
        }
        Outage::CutOff => {
            nodes.proxy(1).set(ProxyMode::Silent);
            1
        }
    };
    asking.pause_between(PAUSE);
    nodes.wait_for_events("access.limits_local.v1", local_nodes, SOON).await;
    tokio::time::sleep(phase).await;
    match outage {
        Outage::Killed(_) => tokio::task::block_in_place(|| redis.start_again()),
        Outage::Flushed => {}
        Outage::CutOff => nodes.proxy(1).set(ProxyMode::Open),
    }
    nodes.wait_for_events("access.limits_shared.v1", local_nodes, SOON).await;
    tokio::time::sleep(phase * 2).await;
    let (answered, refused) = asking.stop().await;

    let log = nodes.log().await;
    let (fullest, _) = fullest_window(&log, Measured::Requests, Duration::from_mins(1));
    let losses = u64::from(matches!(outage, Outage::Killed(Durability::Forgets) | Outage::Flushed));
    assert!(fullest <= most(REQUESTS_PER_MINUTE, losses, 1), "{outage:?}: {fullest} in a minute");
    assert!(fullest >= REQUESTS_PER_MINUTE / 2, "{fullest} in a minute: the limit is used");
    assert!(answered > 0 && refused > 50, "{answered} answered, {refused} refused");
    let is_among_all = |event: &&Value| {
        type_of(event) == "access.limits_local.v1" && event["data"]["nodes"].as_array().map(Vec::len) == Some(NODES)
    };
    let ended_by = |local: &Value| {
        let ends =
            |event: &&Value| type_of(event) == "access.limits_shared.v1" && event["data"]["ends"] == local["position"];
        log.iter().find(ends).map(|shared| shared["data"]["node"] == local["data"]["node"])
    };
    let mut among_all = log.iter().filter(is_among_all);
    assert!(among_all.any(|local| ended_by(local) == Some(true)), "the node that began it has ended it");
    nodes.wait_until_shared(SOON).await;
}

/// Holds: limits.local-share
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_dies_and_comes_back_empty() {
    a_limit_holds_through(Outage::Killed(Durability::Forgets)).await;
}

/// Holds: limits.local-share
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_dies_and_comes_back_with_what_it_had() {
    a_limit_holds_through(Outage::Killed(Durability::Keeps)).await;
}

/// Holds: limits.local-share
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_redis_loses_its_counts_without_a_word() {
    a_limit_holds_through(Outage::Flushed).await;
}

/// Holds: limits.local-share
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_when_one_node_is_cut_off_from_redis() {
    a_limit_holds_through(Outage::CutOff).await;
}

/// How many requests a node answers before it refuses one.
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
    let redis = empty_redis();
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
    let all = [(&requests, &requests.ask("ok")), (&tokens, &ask_for_tokens(&tokens))]
        .map(|of| Asking::start_with(nodes, of, CLIENTS_PER_NODE, PAUSE));
    for asking in &all {
        asking.wait_until_used_up(QUIET, SOON).await;
    }
    for asking in all {
        asking.stop().await;
    }
    let log = nodes.log().await;
    (of_tenant(&log, &requests), of_tenant(&log, &tokens))
}

/// The body of a request under a limit of tokens.
fn ask_for_tokens(tenant: &Tenant) -> Value {
    let mut body = tenant.ask(SLOW);
    body["max_output_tokens"] = json!(OUTPUT_CAP);
    body
}

fn of_tenant(log: &[Value], tenant: &Tenant) -> Vec<Value> {
    log.iter().filter(|event| event["tenant_id"] == json!(tenant.id)).cloned().collect()
}

/// Holds: limits.local-share, limits.closed
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
    let mut redis = empty_redis();
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tokens = Tenant::new(nodes.node(0), &upstream, &[SLOW]).await;
    let closed = Tenant::with(nodes.node(0), &upstream, &["ok"], Setup { limit_usd: "1000", ..Setup::default() }).await;
    nodes.limit(json!({ "scope": { "tenant_id": tokens.id }, "tokens_per_minute": TOKENS_PER_MINUTE })).await;
    let limit =
        json!({ "scope": { "tenant_id": closed.id }, "requests_per_minute": 60_000, "when_unshared": "closed" });
    nodes.limit(limit).await;
    nodes.wait_until_in_force(&tokens.secret).await;
    nodes.wait_until_in_force(&closed.secret).await;

    let of_tokens = Asking::start_with(&nodes, (&tokens, &ask_for_tokens(&tokens)), CLIENTS_PER_NODE, PAUSE);
    let of_closed = Asking::start(&nodes, &closed, 1, PAUSE * 20);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let clock = SystemClock::new();
    let killed_at = clock.now();
    tokio::task::block_in_place(|| redis.kill());
    nodes.wait_until_local(SOON).await;
    let local_at = clock.now() + DECIDED_BEFORE;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started_at = clock.now();
    tokio::task::block_in_place(|| redis.start_again());
    nodes.wait_for_events("access.limits_shared.v1", NODES, SOON).await;
    of_tokens.wait_until_used_up(QUIET, SOON).await;
    of_tokens.stop().await;
    of_closed.stop().await;

    let log = nodes.log().await;
    let of_type = |of_type: &str| -> Vec<&Value> { log.iter().filter(|event| type_of(event) == of_type).collect() };
    if of_type("access.limits_shared.v1").len() != NODES {
        return false;
    }
    for shared in of_type("access.limits_shared.v1") {
        let (began_at, ended_at) = (instant(&shared["data"]["began_at"]), instant(&shared["data"]["ended_at"]));
        if began_at < killed_at {
            return false;
        }
        assert!(began_at - killed_at < BUSY, "killed at {killed_at}, and away since {began_at}");
        assert!(ended_at > started_at && ended_at <= instant(&shared["recorded_at"]), "{started_at}: {shared}");
    }

    let of_tokens = of_tenant(&log, &tokens);
    let (fullest, _) = fullest_window(&of_tokens, Measured::Tokens, Duration::from_mins(1));
    let most = most(TOKENS_PER_MINUTE, 1, largest_reservation(&of_tokens));
    assert!(fullest <= most, "{fullest} tokens in a minute");
    assert!(used_tokens(&of_tokens) >= TOKENS_PER_MINUTE / 2, "{} tokens are used", used_tokens(&of_tokens));

    let of_closed = of_tenant(&log, &closed);
    let admitted = of_closed.iter().filter(|event| type_of(event) == "inference.admitted.v1");
    let admitted: Vec<_> = admitted.map(|event| instant(&event["recorded_at"])).collect();
    let before = admitted.iter().filter(|at| **at < local_at).count();
    let after = admitted.iter().filter(|at| **at > started_at).count();
    assert!(before > 0 && after > 0, "{before} before, {after} after");
    assert_eq!(before + after, admitted.len(), "a closed limit admits nothing in an outage");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_a_node_that_dies_are_free_for_others() {
    let redis = empty_redis();
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
    // So long that no number of Redis has it in its bytes.
    const NAME: &str = "a name that no number has";
    let redis = empty_redis();
    let mut monitor = redis.monitor();
    let mut output = monitor.stdout.take().expect("its output");
    // Read as it comes: a pipe that is full takes nothing more.
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        output.read_to_string(&mut said).expect("what it saw");
        said
    });
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    let tenant = Tenant::new(nodes.node(0), &upstream, &["ok"]).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    nodes.node(0).operator().patch(&path, &json!({ "name": NAME })).await.must(200);
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 60, "tokens_per_day": 1_000_000,
                        "concurrent_requests": 9 });
    let limit = nodes.limit(limit).await;
    nodes.wait_until_in_force(&tenant.secret).await;
    for _ in 0..5 {
        tenant.chat("ok").await.must(200);
    }
    monitor.kill().expect("it runs");
    monitor.wait().expect("its end");
    let said = said.join().expect("what it saw");
    assert!(said.contains(&limit) && said.contains("tokens_per_day"), "{said}");
    for money in [&tenant.budget, "usd", "budget", &tenant.secret, NAME] {
        assert!(!said.contains(money), "{money}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_what_all_nodes_have_left() {
    let redis = empty_redis();
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

/// Asks one node after the other: ten requests fit, and the last is refused.
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

/// Holds: limits.shared-window, admin.teams, admin.narrowed
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_have_one_limit_of_a_team_and_of_what_is_narrowed() {
    let redis = empty_redis();
    let (nodes, upstream) = (LimitedNodes::start(&redis), MockUpstream::start().await);
    for _ in 0..RUNS_MAX {
        let outages = nodes.outages().await;
        let admitted = admitted_under_limits_of_parts(&nodes, &upstream).await;
        if nodes.outages().await == outages {
            assert_eq!(admitted, [3, 2, 4], "for the model, with the metadata, and for neither");
            return;
        }
        nodes.wait_until_shared(SOON).await;
    }
    panic!("Redis does not answer");
}

/// How many of six requests each are admitted, of two users of a team at one node after the other: three for one of the models, two with
/// some metadata, and nine of the team in all.
async fn admitted_under_limits_of_parts(nodes: &LimitedNodes, upstream: &MockUpstream) -> [usize; 3] {
    let tenant = Tenant::new(nodes.node(0), upstream, &["ok", "slow-1"]).await;
    let operator = nodes.node(0).operator();
    let ada = made(operator, "/users", json!({ "tenant_id": tenant.id, "name": "Ada" })).await;
    let key = operator.post("/v1/admin/keys", &json!({ "user_id": ada, "name": "app" })).await.must(201).json();
    let secrets = [tenant.secret.clone(), text(&key["secret"])];
    let users = json!([tenant.user, ada]);
    let team = json!({ "tenant_id": tenant.id, "name": "Search", "user_ids": users });
    let team = made(operator, "/teams", team).await;
    let of_model = json!({ "team_id": team, "model": tenant.model("slow-1") });
    nodes.limit(json!({ "scope": of_model, "requests_per_hour": 3 })).await;
    let of_project = json!({ "tenant_id": tenant.id, "metadata.project": "apollo" });
    nodes.limit(json!({ "scope": of_project, "requests_per_hour": 2 })).await;
    let of_team = nodes.limit(json!({ "scope": { "team_id": team }, "requests_per_hour": 9 })).await;
    for secret in &secrets {
        nodes.wait_until_this_is_in_force(&of_team, secret).await;
    }
    let mut marked = tenant.ask("ok");
    marked["metadata"] = json!({ "project": "apollo" });
    let mut admitted = [0; 3];
    for (body, admitted) in [tenant.ask("slow-1"), marked, tenant.ask("ok")].iter().zip(&mut admitted) {
        for number in 0..6 {
            let app = nodes.node(number % NODES).client(Some(&secrets[number / NODES]));
            let status = app.post(NATIVE, body).await.status;
            assert!([200, 429].contains(&status), "{status}");
            *admitted += usize::from(status == 200);
        }
    }
    admitted
}

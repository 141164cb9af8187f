//! Three nodes on one PostgreSQL, under load and under everything that happens to nodes and databases.
//! `CLUSTER_SECONDS=120` and `CLUSTER_REVOCATIONS=1000` make long runs of them, `CLUSTER_SEED` another one.

mod check;
mod load;
pub mod nodes;

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testing::postgres::TestServer;
use testing::proxy::ProxyMode;
use testing::random::SplitMix64;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{Books, usd};
use crate::client::{Client, Lost, Reply};
use crate::cluster::check::{must_be_at_their_positions, refusals_must_be_right};
use crate::cluster::load::{Ask, Load, Outcome};
use crate::cluster::nodes::Cluster;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, text};

const CONNECTIONS: usize = 100;
/// So many that none has twenty refusals a second, from which on they wait before they are recorded.
const KEYS: usize = 20;
/// The price of one request is measured by the first.
const REQUESTS: u64 = 900;
const HOLD_TTL: Duration = Duration::from_secs(20);
/// A revoked key works on no node after this time.
const REVOKED_MAX: Duration = Duration::from_secs(1);
/// A node that is cut off from the database knows by then.
const CUT_OFF_MAX: Duration = Duration::from_millis(1200);

fn of_environment<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Holds: bin.shared-ledger, event.never-over, event.recorded-first, event.order
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_budget_never_overrun_it_and_refuse_only_what_does_not_fit() {
    let (mut cluster, upstream) = (Cluster::start(&[]), MockUpstream::start().await);
    let tenant = Tenant::new(cluster.node(0), &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let price = cluster.node(0).books().await.balance(&tenant.budget).settled;
    tenant.set_limit(&usd(price * i64::try_from(REQUESTS / 3).expect("a number"))).await;
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        keys.push(new_key(cluster.node(0), &tenant).await.1);
    }
    cluster.wait_until_in_force(&keys).await;

    let load = Load::up_to(REQUESTS);
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let ask = Ask::new(connection, &cluster, &tenant, &keys[connection % KEYS], "ok");
        connections.spawn(Arc::clone(&load).run(ask));
    }
    connections.join_all().await;

    let record = load.record();
    assert!(record.wrong().is_empty(), "{:?}", record.wrong());
    let log = cluster.must_read_the_same().await;
    let books = refusals_must_be_right(&log);
    let (answered, refused) = must_be_at_their_positions(&record, &log, &books);
    println!("{answered} answered, {refused} refused, {} events", log.len());
    assert!(answered > 200 && refused > 200, "{answered} answered, {refused} refused");
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
    cluster.must_be_sound();
}

/// Holds: bin.shared-ledger, event.recorded-first, event.one-end, event.never-over, event.node-lost
#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_and_a_restarted_database_lose_nothing_that_was_answered() {
    /// Connections wait about as long as their requests run: about half of them have one in flight whenever a node is killed.
    const BETWEEN_REQUESTS: Duration = Duration::from_millis(600);
    let seconds = of_environment("CLUSTER_SECONDS", 20_u64);
    let mut random = SplitMix64::new(of_environment("CLUSTER_SEED", 7));
    let server = TestServer::start();
    let ttl = HOLD_TTL.as_secs().to_string();
    let mut cluster = Cluster::start_on(&server, &[("LEDGERWAY_HOLD_TTL_SECONDS", &ttl)]);
    let upstream = MockUpstream::start().await;
    let models = ["slow-600", "paced-90"];
    let wide = Tenant::with(cluster.node(0), &upstream, &models, unlimited()).await;
    let tight =
        Tenant::with(cluster.node(0), &upstream, &models, Setup { limit_usd: "0.05", ..Setup::default() }).await;
    let secrets = [wide.secret.clone(), tight.secret.clone()];
    cluster.wait_until_in_force(&secrets).await;

    let load = Load::until_stopped_with(BETWEEN_REQUESTS);
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let tenant = [&wide, &wide, &wide, &tight][connection / 3 % 4];
        let model = models[connection / 3 % 2];
        let ask = Ask::new(connection, &cluster, tenant, &tenant.secret, model).labelled(connection);
        connections.spawn(Arc::clone(&load).run(ask));
    }
    let cuts = cluster.cut_answers();
    let started = Instant::now();
    let after = |part: u64| Duration::from_secs(seconds * part / 12);
    // Between the kills, so that each start finds a database.
    let mut restarts = [("fast", after(4)), ("immediate", after(8))].into_iter().peekable();
    while started.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(1000 + random.next_u64() % 2000)).await;
        if let Some((mode, _)) = restarts.next_if(|(_, at)| started.elapsed() >= *at) {
            tokio::task::block_in_place(|| server.restart(mode));
        } else {
            cluster.kill_and_start_again(usize::try_from(random.next_u64() % 3).expect("a node"));
        }
    }
    assert!(restarts.next().is_none(), "the database was restarted twice");
    drop(cuts);
    let cuts = cluster.answers_cut();
    load.stop();
    connections.join_all().await;

    let record = load.record();
    assert!(record.wrong().is_empty(), "{:?}", record.wrong());
    cluster.wait_until_ready().await;
    cluster.node(0).books_when_all_ended(HOLD_TTL + Duration::from_secs(20)).await;
    let log = cluster.must_read_the_same().await;
    let books = Books::of(&log);
    let (answered, refused) = must_be_at_their_positions(&record, &log, &books);
    let lost = check::lost_holds_must_be_of_killed_nodes(&record, &log);
    println!(
        "{answered} answered, {refused} refused, {} times 503, {} lost with their node, of which {lost} left a hold, \
         {} kills, {cuts} answers cut, {} events in {seconds} s",
        record.count(|outcome| matches!(outcome, Outcome::Unavailable)),
        record.count(|outcome| matches!(outcome, Outcome::Lost)),
        cluster.kills(),
        log.len()
    );
    assert!(answered > 100 && refused > 10 && cuts > 3, "too little happened to say anything");
    cluster.must_be_sound();
}

/// Holds: bin.shared-ledger, admin.keys, shared.revoked
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_on_one_node_is_refused_on_the_others_within_a_second() {
    const AT_ONCE: usize = 4;
    const BETWEEN_REQUESTS: Duration = Duration::from_millis(40);
    let revocations = of_environment("CLUSTER_REVOCATIONS", 100_usize);
    let (cluster, upstream) = (Arc::new(Cluster::start(&[])), MockUpstream::start().await);
    let tenant = Arc::new(Tenant::with(cluster.node(0), &upstream, &["ok"], unlimited()).await);
    cluster.wait_until_in_force(std::slice::from_ref(&tenant.secret)).await;
    let load = Load::until_stopped_with(BETWEEN_REQUESTS);
    let mut connections = JoinSet::new();
    for connection in 0..12 {
        let ask = Ask::new(connection, &cluster, &tenant, &tenant.secret, "ok");
        connections.spawn(Arc::clone(&load).run(ask));
    }
    let mut revoking = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (cluster, tenant) = (Arc::clone(&cluster), Arc::clone(&tenant));
        revoking.spawn(async move {
            let mut times = Vec::new();
            for number in (worker..revocations).step_by(AT_ONCE) {
                times.extend(revoke_one(&cluster, &tenant, number).await);
            }
            times
        });
    }
    let mut times: Vec<Duration> = revoking.join_all().await.concat();
    load.stop();
    connections.join_all().await;
    let record = load.record();
    assert!(record.wrong().is_empty(), "{:?}", record.wrong());
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{revocations} revocations beside {} requests: refused on the others after p50 {:?}, p99 {:?}, p100 {:?}",
        record.count(|_| true),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(100) <= REVOKED_MAX, "{:?}", at(100));
    Arc::into_inner(cluster).expect("nobody else has it").must_be_sound();
}

/// Holds: nodes.made-elsewhere
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_has_made_is_there_for_the_next_request_to_another() {
    let (mut cluster, upstream) = (Cluster::start(&[]), MockUpstream::start().await);
    let tenant = Tenant::with(cluster.node(0), &upstream, &["ok"], unlimited()).await;
    for number in 0..20 {
        let [first, second, third] = [0, 1, 2].map(|node| cluster.node((number + node) % 3));
        let name = format!("made-{number}");
        let partner = first.operator().post("/v1/admin/partners", &json!({ "name": name })).await.must(201).json();
        let acme = json!({ "partner_id": partner["id"], "name": name });
        let acme = second.operator().post("/v1/admin/tenants", &acme).await.must(201).json();
        let path = format!("/v1/admin/tenants/{}", text(&acme["id"]));
        third.operator().patch(&path, &json!({ "name": format!("{name}-2") })).await.must(200);
        let chosen = first.operator().clone().with("x-tenant-id", &text(&acme["id"]));
        chosen.get("/v1/models").await.must(200);
        let budget = json!({ "scope": { "tenant_id": acme["id"] }, "limit_usd": "1", "period": "total" });
        let budget = second.operator().post("/v1/admin/budgets", &budget).await.must(201).json();
        let path = format!("/v1/admin/budgets/{}", text(&budget["id"]));
        first.operator().patch(&path, &json!({ "limit_usd": "2" })).await.must(200);
        let (key, secret) = new_key(second, &tenant).await;
        third.client(Some(&secret)).get("/v1/me").await.must(200);
        let rotated =
            second.operator().post(&format!("/v1/admin/keys/{key}/rotate"), &json!({})).await.must(200).json();
        first.client(Some(&text(&rotated["secret"]))).get("/v1/me").await.must(200);
        let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 256 });
        let model = json!({ "name": tenant.model(&name), "targets": [target] });
        first.operator().post("/v1/admin/models", &model).await.must(201);
        second.client(Some(&secret)).post(NATIVE, &tenant.ask(&name)).await.must(200);
    }
    let changes = cluster.node(0).operator().get("/v1/events?limit=1000&types=budget.changed.v1").await.must(200).body;
    let changes: Vec<Value> =
        changes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(changes.len(), 20);
    assert!(changes.iter().all(|change| change["tenant_id"].is_string()), "a change has the owners of what it changes");
    // What nobody has made is still not there.
    let nowhere = json!({ "partner_id": "par_01912345678970008000000000000001", "name": "acme" });
    cluster.node(1).operator().post("/v1/admin/tenants", &nowhere).await.must_be(404, "NOT_FOUND");
    let asked = cluster.node(1).client(Some(&tenant.secret)).post(NATIVE, &tenant.ask("unmade")).await;
    asked.must_be(404, "MODEL_NOT_FOUND");
    cluster.must_be_sound();
}

fn unlimited() -> Setup {
    Setup { limit_usd: "100000", ..Setup::default() }
}

/// The id of a new key of the tenant's user, and the key.
async fn new_key(node: &Gateway, tenant: &Tenant) -> (String, String) {
    let body = json!({ "user_id": tenant.user, "name": "another" });
    let key = node.operator().post("/v1/admin/keys", &body).await.must(201).json();
    (text(&key["id"]), text(&key["secret"]))
}

/// Revokes a new key on one node; when the others refused it, from the answer to the revocation on.
async fn revoke_one(cluster: &Cluster, tenant: &Tenant, number: usize) -> Vec<Duration> {
    let [first, second, third] = [0, 1, 2].map(|node| cluster.node((number + node) % 3));
    let (id, secret) = new_key(first, tenant).await;
    let others = [second.client(Some(&secret)), third.client(Some(&secret))];
    cluster.wait_until_in_force(std::slice::from_ref(&secret)).await;
    let path = format!("/v1/admin/keys/{id}");
    first.operator().delete(&path).await.must(200);
    let revoked = Instant::now();
    // The tables of a node may be older than the log, but no request is admitted by them.
    let asked = others[0].post(NATIVE, &tenant.ask("ok")).await;
    assert_ne!(asked.status, 200, "a request with a revoked key was served: {:?}", asked.json());
    let mut times = Vec::new();
    for other in &others {
        while other.get("/v1/me").await.status != 401 {
            assert!(revoked.elapsed() < REVOKED_MAX * 5, "it still works after {:?}", revoked.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(revoked.elapsed());
    }
    times
}

/// Holds: bin.shared-ledger, event.fail-closed, nodes.made-elsewhere, query.health, shared.cut-off
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_database_says_so_and_comes_back_by_itself() {
    let (mut cluster, upstream) = (Cluster::start_behind_proxies(&[]), MockUpstream::start().await);
    let tenant = Tenant::new(cluster.node(0), &upstream, &["ok"]).await;
    cluster.wait_until_in_force(std::slice::from_ref(&tenant.secret)).await;
    for mode in [ProxyMode::Silent, ProxyMode::Refused] {
        let (cut_off, whole) = (cluster.node(1), cluster.node(2));
        let [app, elsewhere] = [cut_off, whole].map(|node| node.client(Some(&tenant.secret)));
        app.post(NATIVE, &tenant.ask("ok")).await.must(200);
        let (key, secret) = new_key(whole, &tenant).await;
        cut_off.client(Some(&secret)).get("/v1/me").await.must(200);
        cluster.proxy(1).set(mode);
        must_not_deny_what_another_makes(cut_off, whole, &tenant, &key).await;
        tokio::time::sleep(CUT_OFF_MAX).await;
        let sent_before = upstream.seen().len();
        for _ in 0..3 {
            must_be_unavailable(cut_off, &app, &tenant).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(upstream.seen().len(), sent_before, "sent without the ledger");
        elsewhere.post(NATIVE, &tenant.ask("ok")).await.must(200);
        cluster.proxy(1).set(ProxyMode::Open);
        let opened = Instant::now();
        let serves = async || {
            let health = app.get("/health/ready").await.status;
            health == 200 && app.post(NATIVE, &tenant.ask("ok")).await.status == 200
        };
        while !serves().await {
            assert!(opened.elapsed() < Duration::from_secs(15), "{mode:?}: it does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{mode:?}: it serves again {:?} after the database is back", opened.elapsed());
    }
    let log = cluster.must_read_the_same().await;
    let books = Books::of(&log);
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
    cluster.must_be_sound();
}

/// A node that cannot know what another has just made does not say that there is none. The key is of the tenant.
async fn must_not_deny_what_another_makes(cut_off: &Gateway, whole: &Gateway, tenant: &Tenant, key: &str) {
    let make = async |path: &str, body: Value| whole.operator().post(path, &body).await.json();
    let rotated = make(&format!("/v1/admin/keys/{key}/rotate"), json!({})).await;
    let (_, new) = new_key(whole, tenant).await;
    let name = format!("made-{}", &key[key.len() - 8..]);
    let partner = make("/v1/admin/partners", json!({ "name": name })).await;
    let acme = json!({ "partner_id": partner["id"], "name": name });
    let made = make("/v1/admin/tenants", acme.clone()).await;
    let [rotated, new] = [text(&rotated["secret"]), new].map(|secret| cut_off.client(Some(&secret)));
    let chosen = cut_off.operator().clone().with("x-tenant-id", &text(&made["id"]));
    let (changed, rename) = (format!("/v1/admin/partners/{}", text(&partner["id"])), json!({ "name": "renamed" }));
    let all = tokio::join!(
        rotated.get("/v1/me"),
        new.get("/v1/me"),
        chosen.get("/v1/me"),
        cut_off.operator().post("/v1/admin/tenants", &acme),
        cut_off.operator().patch(&changed, &rename),
    );
    for reply in <[Reply; 5]>::from(all) {
        reply.must_be(503, "LEDGER_UNAVAILABLE");
    }
}

async fn must_be_unavailable(node: &Gateway, app: &Client, tenant: &Tenant) {
    let at_once = async |what: &str, client: &Client, method: Method, path: &str, body: String| {
        let started = Instant::now();
        let reply: Result<Reply, Lost> = client.send(method, path, body).await;
        assert!(started.elapsed() < Duration::from_millis(500), "{what}: answered after {:?}", started.elapsed());
        reply.expect("an answer")
    };
    let ask = tenant.ask("ok").to_string();
    for (path, body) in [("/v1/me", ""), ("/v1/usage", ""), (NATIVE, ask.as_str())] {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        at_once(path, app, method, path, body.to_owned()).await.must_be(503, "LEDGER_UNAVAILABLE");
    }
    at_once(OPENAI, app, Method::POST, OPENAI, ask).await.must_be(503, "ledger_unavailable");
    let partner = json!({ "name": "late" }).to_string();
    let operator = node.operator();
    for (path, body) in [("/v1/admin/partners", partner), ("/v1/events", String::new())] {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        at_once(path, operator, method, path, body).await.must_be(503, "LEDGER_UNAVAILABLE");
    }
    at_once("ready", app, Method::GET, "/health/ready", String::new()).await.must(503);
    at_once("live", app, Method::GET, "/health/live", String::new()).await.must(200);
}

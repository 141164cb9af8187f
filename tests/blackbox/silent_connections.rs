//! A node of a shared ledger of whose connections the network drops one without telling either end. The log has the rest in
//! `log/tests/suite/silent_connections.rs`.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tempfile::TempDir;
use testing::postgres::TestDatabase;
use testing::silencing_proxy::{FOLLOWING, SilencingProxy, WRITER};
use testing::upstream::MockUpstream;

use crate::client::{Client, Reply};
use crate::configuration::said;
use crate::gateway::Gateway;
use crate::shared_ledger::{command, folders, node};
use crate::tenant::{NATIVE, Tenant};

/// A revoked key works on no node after this time; besides, this machine may be busy.
const REVOKED_MAX: Duration = Duration::from_millis(1200);

struct Nodes {
    whole: Gateway,
    silent: Gateway,
    proxy: SilencingProxy,
    _folders: [TempDir; 2],
    // Declared last: it outlives the gateways.
    _database: TestDatabase,
}

impl Nodes {
    fn start() -> Self {
        let database = TestDatabase::create();
        let (code, words) = said(&mut command(&database.url(), &["migrate"]));
        assert_eq!(code, Some(0), "{words}");
        let folders = folders();
        let [first, second] = &folders;
        let proxy = SilencingProxy::start(database.socket());
        let whole = node(&database.url(), first.path(), &[]);
        let silent = node(&database.url_through(proxy.port), second.path(), &[]);
        Self { whole, silent, proxy, _folders: folders, _database: database }
    }
}

async fn until_status(client: &Client, path: &str, status: u16, max: Duration) -> Duration {
    let began = Instant::now();
    loop {
        let reply = client.get(path).await;
        if reply.status == status {
            return began.elapsed();
        }
        assert!(began.elapsed() < max, "{path}: {} after {max:?}", reply.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Holds: bin.shared-ledger, admin.keys, event.fail-closed
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_within_a_second_by_a_node_whose_tables_have_lost_their_connection() {
    let (nodes, upstream) = (Nodes::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&nodes.whole, &upstream, &["ok"]).await;
    let app = nodes.silent.client(Some(&tenant.secret));
    for connects_again in [true, false] {
        let (id, revoked) = tenant.new_key(&nodes.silent, json!({})).await;
        until_status(&revoked, "/v1/me", 200, Duration::from_secs(10)).await;
        app.post(NATIVE, &tenant.ask("ok")).await.must(200);
        // An idle connection, as a firewall forgets it.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        if connects_again {
            assert!(nodes.proxy.silence(FOLLOWING) > 0);
        } else {
            nodes.proxy.silence_for_good(FOLLOWING);
        }
        nodes.whole.operator().delete(&format!("/v1/admin/keys/{id}")).await.must(200);
        let began = Instant::now();
        while revoked.get("/v1/me").await.status == 200 {
            assert!(began.elapsed() < REVOKED_MAX, "it works after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !connects_again {
            // Nobody knows what else is not in its tables.
            app.get("/v1/me").await.must_be(503, "LEDGER_UNAVAILABLE");
            nodes.proxy.let_through();
        }
        let back = until_status(&revoked, "/v1/me", 401, Duration::from_secs(10)).await;
        println!("its tables are current {back:?} later");
        assert!(!connects_again || back < Duration::from_secs(2), "its tables were behind for {back:?}");
        until_status(&app, "/v1/me", 200, Duration::from_secs(5)).await;
        app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    }
}

/// Sends it as soon as the node has lost its writer's connection, again if the node was too slow to get it in time.
async fn when_the_writer_is_silent(nodes: &Nodes, send: impl AsyncFn() -> Reply) -> Reply {
    for _ in 0..5 {
        until_status(nodes.silent.operator(), "/health/ready", 200, Duration::from_secs(15)).await;
        nodes.proxy.silence(WRITER);
        let reply = send().await;
        if !reply.code().eq_ignore_ascii_case("LEDGER_UNAVAILABLE") {
            return reply;
        }
    }
    panic!("the node is never asked in time");
}

/// The node has heard of everything a moment ago, so it takes requests, but it cannot know yet what another one recorded since.
///
/// Holds: http.min-position
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_a_node_cannot_have_heard_of_is_no_mistake_of_the_client() {
    let nodes = Nodes::start();
    let [whole, silent] = [&nodes.whole, &nodes.silent].map(|node| node.operator());
    for (path, code) in [("/v1/usage", "VIEW_BEHIND"), ("/v1/models", "view_behind")] {
        let reply = when_the_writer_is_silent(&nodes, async || {
            let partner = json!({ "name": nodes.whole.next_name() });
            let position = whole.post("/v1/admin/partners", &partner).await.must(201).position();
            silent.get(&format!("{path}?min_position={position}")).await
        })
        .await;
        let reply = reply.must_be(503, code);
        assert!(!reply.header("retry-after").is_empty(), "{path}");
        let details = &reply.json()["error"]["details"];
        assert!(details["min_position"].is_u64(), "{path}: {details}");
    }
    until_status(silent, "/health/ready", 200, Duration::from_secs(15)).await;
    silent.get("/v1/usage?min_position=1000000").await.must_be(400, "INVALID_REQUEST");
}

/// Holds: admin.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_by_another_node_only_when_the_change_is_in_force_there() {
    let nodes = Nodes::start();
    let create = async |node: &Gateway, name: &str| {
        let client = node.operator().clone().with("idempotency-key", name);
        client.send(Method::POST, "/v1/admin/partners", json!({ "name": name }).to_string()).await.expect("an answer")
    };
    let mut first = None;
    let reply = when_the_writer_is_silent(&nodes, async || {
        let name = nodes.whole.next_name();
        create(&nodes.whole, &name).await.must(201);
        create(&nodes.silent, &name).await
    })
    .await;
    reply.must_be(503, "VIEW_BEHIND");
    until_status(nodes.silent.operator(), "/health/ready", 200, Duration::from_secs(15)).await;
    for node in [&nodes.whole, &nodes.silent] {
        let reply = create(node, "later").await.must(201).json();
        assert_eq!(first.get_or_insert_with(|| reply.clone()), &reply);
    }
}

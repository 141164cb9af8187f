//! Three nodes on one database and one Redis, and clients that ask all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testing::postgres::TestDatabase;
use testing::proxy::Proxy;
use testing::redis::{Durability, RedisServer};
use tokio::task::JoinSet;

use crate::gateway::{Gateway, serve_to_its_end, type_of};
use crate::shared_ledger::{environment_of, folders, migrated, node};
use crate::tenant::{NATIVE, Tenant, text};

pub const NODES: usize = 3;
/// How often each node looks which others serve.
const LOOKS_EVERY: Duration = Duration::from_millis(1200);
const IN_FORCE_MAX: Duration = Duration::from_secs(10);
/// How long a client at least waits after a refusal. As long as it is served it asks as fast as it is told to, so that a limit is
/// overrun at once if it can be.
const PAUSE_WHEN_REFUSED: Duration = Duration::from_millis(100);

/// A Redis that has counted nothing, and forgets what it counts when it is killed. Blocking.
pub fn empty_redis() -> RedisServer {
    tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets))
}

pub struct LimitedNodes {
    nodes: Vec<Gateway>,
    /// Before the Redis of each node.
    proxies: Vec<Proxy>,
    _folders: [TempDir; NODES],
    database: TestDatabase,
}

impl LimitedNodes {
    pub fn start(redis: &RedisServer) -> Self {
        tokio::task::block_in_place(|| {
            let (database, folders) = (migrated(), folders::<NODES>());
            let proxies: Vec<Proxy> = (0..NODES).map(|_| Proxy::start(([127, 0, 0, 1], redis.port()).into())).collect();
            let start = |(folder, proxy): (&TempDir, &Proxy)| {
                let url = format!("redis://127.0.0.1:{}", proxy.port);
                node(&database.url(), folder.path(), &[("LEDGERWAY_REDIS_URL", &url)])
            };
            let nodes = folders.iter().zip(&proxies).map(start).collect();
            let nodes = Self { nodes, proxies, _folders: folders, database };
            nodes.wait_until_connected();
            std::thread::sleep(LOOKS_EVERY);
            nodes
        })
    }

    /// Waits until the register says of all nodes that they are connected: one that still starts is in no list of a local period. Blocking.
    fn wait_until_connected(&self) {
        self.wait_for_register("limit_sharing = 'connected'", |connected| usize::try_from(connected) == Ok(NODES));
    }

    /// Waits until one more node is registered, which does not serve yet. Blocking.
    pub fn wait_until_one_starts(&self) {
        self.wait_for_register("limit_sharing = 'starting'", |starting| starting == 1);
    }

    /// Waits until so many nodes are registered of which this is true. Blocking.
    fn wait_for_register(&self, condition: &str, is_reached: impl Fn(i64) -> bool) {
        let started = Instant::now();
        let count = format!("SELECT count(*) FROM running_nodes WHERE {condition}");
        while !is_reached(self.database.number(&count)) {
            assert!(started.elapsed() < IN_FORCE_MAX, "the wrong number of nodes with {condition}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn node(&self, number: usize) -> &Gateway {
        &self.nodes[number]
    }

    pub fn proxy(&self, number: usize) -> &Proxy {
        &self.proxies[number]
    }

    /// Starts one more node with this Redis, or without one, which is to end: its exit code and its last words.
    pub fn start_another_to_its_end(&self, redis: Option<&str>) -> (Option<i32>, String) {
        let (folder, mut env) = (tempfile::tempdir().expect("a folder"), environment_of(&self.database.url()));
        env.extend(redis.map(|redis| ("LEDGERWAY_REDIS_URL", redis.to_owned())));
        serve_to_its_end(folder.path(), &env)
    }

    /// Starts one more node with this Redis, and waits until it serves.
    pub fn start_another(&self, redis: &str) -> (Gateway, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let another = node(&self.database.url(), folder.path(), &[("LEDGERWAY_REDIS_URL", redis)]);
        self.wait_for_register("limit_sharing = 'starting'", |starting| starting == 0);
        (another, folder)
    }

    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// Registers a node that says of its Redis what is given, once and for all.
    pub fn register_one_that_says(&self, limit_sharing: &str) {
        self.database.execute(&format!(
            "INSERT INTO ledger.running_nodes
               (node, started_at, seen_at, events_read, events_written, address, limit_sharing)
             SELECT 'says', max(seen_at), max(seen_at) + 3600000000, max(events_read), max(events_written), 'local',
                    '{limit_sharing}'
             FROM ledger.running_nodes"
        ));
    }

    pub fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Creates a limit, and returns its id.
    pub async fn limit(&self, fields: Value) -> String {
        text(&self.nodes[0].operator().post("/v1/admin/rate-limits", &fields).await.must(201).json()["id"])
    }

    /// Waits until a key works on every node, and with it what was created before.
    pub async fn wait_until_in_force(&self, secret: &str) {
        self.wait_until_limits(secret, |limits| !limits.is_empty()).await;
    }

    /// Waits until every node knows this limit of the key's owner, and with it what was created before.
    pub async fn wait_until_this_is_in_force(&self, limit: &str, secret: &str) {
        self.wait_until_limits(secret, |limits| limits.iter().any(|one| one["limit_id"] == limit)).await;
    }

    async fn wait_until_limits(&self, secret: &str, are_there: impl Fn(&[Value]) -> bool) {
        let started = Instant::now();
        for node in &self.nodes {
            let is_in_force = || async {
                let me = node.client(Some(secret)).get("/v1/me").await;
                me.status == 200 && me.json()["limits"].as_array().is_some_and(|limits| are_there(limits))
            };
            while !is_in_force().await {
                assert!(started.elapsed() < IN_FORCE_MAX, "a limit is not in force on every node");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub async fn log(&self) -> Vec<Value> {
        self.wait_until_first_is_ready().await;
        self.nodes[0].events().await
    }

    /// The events of these types, which commas separate.
    async fn events_of(&self, types: &str) -> Vec<Value> {
        self.wait_until_first_is_ready().await;
        self.nodes[0].events_of(types).await
    }

    async fn wait_until_first_is_ready(&self) {
        let started = Instant::now();
        while self.nodes[0].client(None).get("/health/ready").await.status != 200 {
            assert!(started.elapsed() < IN_FORCE_MAX, "a node is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn health(&self, number: usize) -> Value {
        self.nodes[number].client(None).get("/health").await.json()
    }

    /// How often nodes have begun to count by themselves.
    pub async fn outages(&self) -> usize {
        self.events_of("access.limits_local.v1").await.len()
    }

    /// Waits until every node counts in Redis.
    pub async fn wait_until_shared(&self, max: Duration) {
        let started = Instant::now();
        for number in 0..NODES {
            while self.health(number).await["parts"]["limits"] != "shared" {
                assert!(started.elapsed() < max, "node {number} counts by itself");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until every node counts by its share.
    pub async fn wait_until_local(&self, max: Duration) {
        let started = Instant::now();
        for number in 0..NODES {
            while self.health(number).await["parts"]["limits"] != "local" {
                assert!(started.elapsed() < max, "node {number} counts in Redis");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until a local period of a node is recorded that has not ended, and returns why it began.
    pub async fn wait_for_local_period(&self, max: Duration) -> String {
        let started = Instant::now();
        loop {
            let mut reasons: HashMap<String, String> = HashMap::new();
            for event in self.events_of("access.limits_local.v1,access.limits_shared.v1").await {
                let node = || text(&event["data"]["node"]);
                match type_of(&event) {
                    "access.limits_local.v1" => drop(reasons.insert(node(), text(&event["data"]["reason"]))),
                    "access.limits_shared.v1" => drop(reasons.remove(&node())),
                    _ => {}
                }
            }
            if let Some(reason) = reasons.into_values().next() {
                return reason;
            }
            assert!(started.elapsed() < max, "no local period is recorded");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn wait_for_event(&self, of_type: &str, max: Duration) {
        self.wait_for_events(of_type, 1, max).await;
    }

    /// Waits until so many events of a type are recorded.
    pub async fn wait_for_events(&self, of_type: &str, count: usize, max: Duration) {
        let started = Instant::now();
        while self.events_of(of_type).await.len() < count {
            assert!(started.elapsed() < max, "{of_type} is not recorded");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Clients that ask one request after the other, on all nodes.
pub struct Asking {
    state: Arc<State>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct State {
    is_stopped: AtomicBool,
    pause_ms: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl State {
    fn set_pause(&self, pause: Duration) {
        self.pause_ms.store(pause.as_millis().try_into().expect("short"), Ordering::SeqCst);
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms.load(Ordering::SeqCst))
    }
}

impl Asking {
    pub fn start(nodes: &LimitedNodes, tenant: &Tenant, clients_per_node: usize, pause: Duration) -> Self {
        Self::start_with(nodes, (tenant, &tenant.ask("ok")), clients_per_node, pause)
    }

    /// Clients that send this body.
    pub fn start_with(
        nodes: &LimitedNodes,
        (tenant, body): (&Tenant, &Value),
        clients_per_node: usize,
        pause: Duration,
    ) -> Self {
        let (state, mut clients) = (Arc::<State>::default(), JoinSet::new());
        state.set_pause(pause);
        for node in &nodes.nodes {
            for _ in 0..clients_per_node {
                let (app, body, state) = (node.client(Some(&tenant.secret)), body.clone(), Arc::clone(&state));
                clients.spawn(async move {
                    while !state.is_stopped.load(Ordering::SeqCst) {
                        let reply = app.post(NATIVE, &body).await;
                        let (counter, pause_min) = match reply.status {
                            200 => (Some(&state.answered), Duration::ZERO),
                            429 => (Some(&state.refused), PAUSE_WHEN_REFUSED),
                            // The machine is so busy that a node did not hear from the database for a second.
                            503 => (None, Duration::ZERO),
                            status => panic!("{status}: {}", reply.json()),
                        };
                        if let Some(counter) = counter {
                            counter.fetch_add(1, Ordering::SeqCst);
                        }
                        tokio::time::sleep(state.pause().max(pause_min)).await;
                    }
                });
            }
        }
        Self { state, clients }
    }

    /// How long each client waits between its requests.
    pub fn pause_between(&self, pause: Duration) {
        self.state.set_pause(pause);
    }

    /// Waits until for so long all requests were refused.
    pub async fn wait_until_used_up(&self, quiet: Duration, max: Duration) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let started = Instant::now();
        loop {
            let before = (count(&self.state.answered), count(&self.state.refused));
            tokio::time::sleep(quiet).await;
            if count(&self.state.answered) == before.0 && count(&self.state.refused) > before.1 {
                return;
            }
            assert!(started.elapsed() < max, "the limit is not used up");
        }
    }

    /// The number of requests that were answered, and of those that were refused.
    pub async fn stop(self) -> (u64, u64) {
        self.state.is_stopped.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        (self.state.answered.load(Ordering::SeqCst), self.state.refused.load(Ordering::SeqCst))
    }
}

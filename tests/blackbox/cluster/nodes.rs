//! Three nodes on one database, each in a folder of its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use testing::postgres::{TestDatabase, TestServer};
use testing::proxy::Proxy;
use tokio::task::JoinSet;

use crate::configuration::said;
use crate::gateway::Gateway;
use crate::shared_ledger::{command, folders, node};

pub const NODES: usize = 3;
const CUT_EVERY: Duration = Duration::from_millis(400);
/// Bytes that an append of an admission has, and nothing else that a node sends.
const IN_AN_APPEND: &[u8] = b"budget.reserved";
/// The largest page of the log.
const PAGE: u16 = 1000;
const SMALL_PAGE: u16 = 97;

pub struct Cluster {
    nodes: Vec<Gateway>,
    kills: Vec<Arc<NodeKills>>,
    proxies: Vec<Arc<Proxy>>,
    _folders: [TempDir; NODES],
    database: TestDatabase,
}

/// When a node was killed, and whether it runs.
#[derive(Default)]
pub struct NodeKills {
    times: Mutex<Vec<Instant>>,
    is_down: AtomicBool,
}

impl NodeKills {
    /// How often the node has been killed; `None` while it does not run.
    pub fn count_if_running(&self) -> Option<usize> {
        (!self.is_down.load(Ordering::SeqCst)).then(|| self.count())
    }

    fn count(&self) -> usize {
        self.times.lock().expect("the times").len()
    }

    /// If the node was killed in this time.
    pub fn any_within(&self, time: RangeInclusive<Instant>) -> bool {
        self.times.lock().expect("the times").iter().any(|kill| time.contains(kill))
    }

    /// How long after that the node was killed each time; `None` before that.
    pub fn after(&self, at: Instant) -> Vec<Option<Duration>> {
        self.times.lock().expect("the times").iter().map(|kill| kill.checked_duration_since(at)).collect()
    }
}

impl Cluster {
    pub fn start(env: &[(&'static str, &str)]) -> Self {
        Self::of(TestDatabase::create(), false, env)
    }

    /// The same with a proxy before each node's database.
    pub fn start_behind_proxies(env: &[(&'static str, &str)]) -> Self {
        Self::of(TestDatabase::create(), true, env)
    }

    /// On a server of the test's own, behind proxies.
    pub fn start_on(server: &TestServer, env: &[(&'static str, &str)]) -> Self {
        Self::of(server.create_database(), true, env)
    }

    fn of(database: TestDatabase, proxied: bool, env: &[(&'static str, &str)]) -> Self {
        let (code, words) = said(&mut command(&database.url(), &["migrate"]));
        assert_eq!(code, Some(0), "{words}");
        let (mut proxies, mut urls) = (Vec::new(), vec![database.url(); NODES]);
        for url in urls.iter_mut().filter(|_| proxied) {
            let proxy = Proxy::start(database.socket());
            *url = database.url_through(proxy.port);
            proxies.push(Arc::new(proxy));
        }
        let folders = folders::<NODES>();
        let nodes = folders.iter().zip(&urls).map(|(folder, url)| node(url, folder.path(), env)).collect();
        let kills = (0..NODES).map(|_| Arc::default()).collect();
        Self { nodes, kills, proxies, _folders: folders, database }
    }

    pub fn node(&self, number: usize) -> &Gateway {
        &self.nodes[number]
    }

    pub fn kills_of(&self, number: usize) -> &Arc<NodeKills> {
        &self.kills[number]
    }

    pub fn proxy(&self, number: usize) -> &Proxy {
        &self.proxies[number]
    }

    pub fn kills(&self) -> usize {
        self.kills.iter().map(|kills| kills.count()).sum()
    }

    /// `kill -9`. Blocking.
    pub fn kill_and_start_again(&mut self, number: usize) {
        let kills = &self.kills[number];
        kills.is_down.store(true, Ordering::SeqCst);
        kills.times.lock().expect("the times").push(Instant::now());
        self.nodes[number].kill();
        tokio::task::block_in_place(|| self.nodes[number].start_again());
        kills.is_down.store(false, Ordering::SeqCst);
    }

    /// Loses the answer to an append every now and then, of one node after the other.
    pub fn cut_answers(&self) -> Cuts {
        let (proxies, mut task) = (self.proxies.clone(), JoinSet::new());
        task.spawn(async move {
            for proxy in proxies.iter().cycle() {
                tokio::time::sleep(CUT_EVERY).await;
                proxy.cut_answer_to(IN_AN_APPEND);
            }
        });
        Cuts { _task: task }
    }

    pub fn answers_cut(&self) -> u64 {
        self.proxies.iter().map(|proxy| proxy.answers_cut()).sum()
    }

    /// Waits until these keys work on every node.
    pub async fn wait_until_in_force(&self, secrets: &[String]) {
        let started = Instant::now();
        for node in &self.nodes {
            for secret in secrets {
                let client = node.client(Some(secret));
                while client.get("/v1/me").await.status != 200 {
                    assert!(started.elapsed() < Duration::from_secs(10), "a key does not work on every node");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    pub async fn wait_until_ready(&self) {
        let started = Instant::now();
        for node in &self.nodes {
            while node.operator().get("/health/ready").await.status != 200 {
                assert!(started.elapsed() < Duration::from_secs(15), "a node is not ready: {}", node.stderr());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The log, which every node must serve with the same bytes, from its beginning on and from its end back, and the
    /// same figures.
    pub async fn must_read_the_same(&self) -> Vec<Value> {
        // A node knows its own appends at once, and the others' a moment later.
        let mut end = 0;
        for node in &self.nodes {
            end = end.max(node.head().await);
        }
        let starts = |page: u16| (0..end).step_by(page.into()).collect::<Vec<_>>();
        let log = lines(&self.nodes[0], starts(PAGE), PAGE, end).await;
        for node in &self.nodes[1..] {
            assert!(lines(node, starts(PAGE), PAGE, end).await == log, "another log, read forwards");
        }
        for node in &self.nodes {
            let backwards = lines(node, starts(SMALL_PAGE).into_iter().rev(), SMALL_PAGE, end).await;
            assert!(backwards == log, "another log, read from its end");
        }
        for path in ["/v1/usage?group_by=tenant,key,model", "/v1/budgets?limit=100"] {
            let path = format!("{path}&min_position={end}");
            let first = self.nodes[0].operator().get(&path).await.must(200).json();
            for node in &self.nodes[1..] {
                assert_eq!(node.operator().get(&path).await.must(200).json(), first, "{path}");
            }
        }
        log.values().map(|line| event(line)).collect()
    }

    /// Stops the nodes, and checks the log and the views of each.
    pub fn must_be_sound(&mut self) {
        for node in &mut self.nodes {
            node.stop();
        }
        for node in &self.nodes {
            let data = node.data().display().to_string();
            let (code, words) = said(&mut command(&self.database.url(), &["verify", "--data", &data]));
            assert!(code == Some(0) && words.starts_with("sound: "), "{words}");
        }
    }
}

pub struct Cuts {
    _task: JoinSet<()>,
}

/// The lines of these pages up to the end, as they were served, by position.
async fn lines(node: &Gateway, after: impl IntoIterator<Item = u64>, limit: u16, end: u64) -> BTreeMap<u64, Bytes> {
    let mut lines = BTreeMap::new();
    for after in after {
        let page = node.operator().get(&format!("/v1/events?after={after}&limit={limit}")).await.must(200);
        for line in page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let position = event(line)["position"].as_u64().expect("a position");
            if position <= end {
                lines.insert(position, page.body.slice_ref(line));
            }
        }
    }
    lines
}

fn event(line: &[u8]) -> Value {
    serde_json::from_slice(line).expect("an event a line")
}

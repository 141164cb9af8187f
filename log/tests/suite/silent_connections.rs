//! A network drops one connection of a node and tells neither end: what the node does without that connection, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::time::SystemClock;
use events_log::concurrency::{ConcurrencyLimiter, Requester};
use events_log::{Admitted, Log, LogError, LogOptions};
use testing::postgres::TestDatabase;
use testing::silencing_proxy::{DECIDING, FOLLOWING, LISTENER, QUERIES, SilencingProxy, WRITER};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::eventually::eventually;
use crate::facts::admission;
use crate::test_log::blocking;

const TTL: Duration = Duration::from_secs(600);
/// Longer than a connection is used again without a question whether it still works.
const IDLE: Duration = Duration::from_millis(1500);

/// A node behind a proxy, and one that is not.
struct Nodes {
    silent: Log,
    other: Log,
    proxy: SilencingProxy,
    // Declared last: it outlives the logs in it.
    database: TestDatabase,
}

impl Nodes {
    fn start() -> Self {
        let database = TestDatabase::create();
        blocking(|| Log::migrate_shared(&database.url().parse().expect("an address")).expect("an empty database"));
        let proxy = SilencingProxy::start(database.socket());
        let open = |url: String, name: &str| {
            let options = LogOptions::new(Arc::new(SystemClock::new())).with_hold_ttl(TTL);
            blocking(|| Log::open_shared(&url.parse().expect("an address"), name, options).expect("the log opens"))
        };
        let (silent, other) = (open(database.url_through(proxy.port), "silent"), open(database.url(), "other"));
        Self { silent, other, proxy, database }
    }

    /// Reads once over the connection, silences it after this time, and returns how long the next read takes.
    async fn read_again(
        &self,
        setting: &str,
        idle: Duration,
        read: impl AsyncFn() -> Result<(), LogError>,
    ) -> Duration {
        read().await.expect("it reads");
        sleep(idle).await;
        assert_eq!(self.proxy.silence(setting), 1, "{setting}");
        let began = Instant::now();
        timeout(Duration::from_secs(20), read()).await.expect("in time").expect("it reads on another connection");
        began.elapsed()
    }
}

async fn admit(log: &Log, number: u128) -> Result<(), LogError> {
    match log.admit(admission(number, number, 10, TTL), None).await? {
        Admitted::Hold(hold) => std::mem::forget(hold),
        other => panic!("no budget binds: {other:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_readers_that_goes_silent_while_it_is_idle_costs_a_moment() {
    let nodes = Nodes::start();
    let log = &nodes.silent;
    let limiter = ConcurrencyLimiter::default();
    let tables = nodes.read_again(FOLLOWING, IDLE, async || log.administration_after(0).await.map(drop)).await;
    let keys = nodes.read_again(DECIDING, IDLE, async || log.read(|reader| reader.head()).await.map(drop)).await;
    let query = async || {
        let permit = limiter.admit_query(Requester::Operator).await.expect("a permit");
        log.for_queries().read(&permit, |reader| reader.head()).await.map(drop)
    };
    let queries = nodes.read_again(QUERIES, IDLE, query).await;
    for (what, took) in [("tables", tables), ("keys", keys), ("queries", queries)] {
        assert!(took < Duration::from_millis(1500), "{what} were read after {took:?}");
    }
}

/// A connection that was used a moment ago is not asked whether it still works.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_readers_that_goes_silent_in_use_is_replaced_within_seconds() {
    let nodes = Nodes::start();
    let log = &nodes.silent;
    let idle = Duration::ZERO;
    let tables = nodes.read_again(FOLLOWING, idle, async || log.administration_after(0).await.map(drop)).await;
    let keys = nodes.read_again(DECIDING, idle, async || log.read(|reader| reader.head()).await.map(drop)).await;
    assert!(tables < Duration::from_secs(4), "the tables were read after {tables:?}");
    assert!(keys < Duration::from_secs(3), "keys were read after {keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_over_a_writers_connection_that_goes_silent_are_certain_within_seconds() {
    const CALLERS: u128 = 8;
    let nodes = Nodes::start();
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 1..=CALLERS {
        let log = nodes.silent.clone();
        callers.spawn(async move {
            let mut longest = Duration::ZERO;
            for number in 0.. {
                let asked = Instant::now();
                admit(&log, caller * 1_000_000 + number).await.expect("it is certain that it was recorded");
                longest = longest.max(asked.elapsed());
                if began.elapsed() > Duration::from_secs(9) {
                    break;
                }
            }
            longest
        });
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(nodes.proxy.silence(WRITER), 1);
    eventually("it knows where the log ends", Duration::from_millis(1500), || !nodes.silent.is_current()).await;
    eventually("it does not know where the log ends", Duration::from_secs(8), || nodes.silent.is_current()).await;
    let longest = callers.join_all().await.into_iter().max().expect("callers");
    assert!(longest > Duration::from_secs(5), "no append was under way");
    assert!(longest < Duration::from_secs(8), "a caller waited {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_whose_writers_connection_goes_silent_says_so_and_comes_back() {
    let nodes = Nodes::start();
    assert_eq!(nodes.proxy.silence(WRITER), 1);
    eventually("it knows where the log ends", Duration::from_millis(1500), || !nodes.silent.is_current()).await;
    eventually("it does not know where the log ends", Duration::from_secs(8), || nodes.silent.is_current()).await;
    admit(&nodes.silent, 1).await.expect("it is recorded");
    assert!(nodes.silent.is_writable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_listeners_connection_goes_silent_hears_of_others_and_shows_itself_again_before_it_counts_as_gone()
{
    const SEEN_AT: &str = "SELECT seen_at FROM running_nodes WHERE node = 'silent'";
    let nodes = Nodes::start();
    let seen_at = || blocking(|| nodes.database.number(SEEN_AT));
    let first = seen_at();
    eventually("it does not show itself", Duration::from_secs(5), || seen_at() > first).await;
    assert_eq!(nodes.proxy.silence(LISTENER), 1);
    let last = seen_at();
    admit(&nodes.other, 1).await.expect("it is recorded");
    let head = nodes.other.head().position;
    let heard = || nodes.silent.head().position == head;
    eventually("it has not heard of the other's append", Duration::from_secs(1), heard).await;
    // It counts as gone after ten seconds.
    eventually("it does not show itself again", Duration::from_secs(7), || seen_at() > last).await;
}

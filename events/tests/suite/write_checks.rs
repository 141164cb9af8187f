//! A node that cannot append says so before a request has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use events::log::{Log, LogOptions};
use events::time::{Clock, SystemClock};
use testing::postgres::{TestDatabase, TestServer};
use tokio::time::sleep;

use crate::test_log::blocking;

/// The machine's clock, ahead by this much.
struct ClockAhead {
    clock: SystemClock,
    micros: AtomicI64,
}

impl Clock for ClockAhead {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::microseconds(self.micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn open(database: &TestDatabase, clock: Arc<dyn Clock>) -> Log {
    let address = database.url().parse().expect("an address");
    blocking(|| {
        Log::migrate_shared(&address).expect("a ledger");
        Log::open_shared(&address, "node", LogOptions::new(clock)).expect("the log opens")
    })
}

async fn eventually(what: &str, max: Duration, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < max, "{what} after {max:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Longer than it takes until a node checks again.
async fn stays(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert!(is_so(), "{what} after {:?}", began.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_is_not_writable_from_its_start_on() {
    let database = TestDatabase::create();
    let clock = Arc::new(ClockAhead { clock: SystemClock::new(), micros: 7_000_000.into() });
    let log = open(&database, clock.clone());
    eventually("it can write", Duration::from_millis(500), || !log.is_writable()).await;
    stays("it can write", || !log.is_writable()).await;
    clock.micros.store(0, Ordering::SeqCst);
    eventually("it cannot write", Duration::from_secs(3), || log.is_writable()).await;
    stays("it cannot write", || log.is_writable()).await;
    clock.micros.store(7_000_000, Ordering::SeqCst);
    eventually("it can write", Duration::from_secs(3), || !log.is_writable()).await;
}

#[tokio::test]
async fn an_idle_node_notices_that_its_database_became_read_only() {
    let server = TestServer::start();
    let database = server.create_database();
    let log = open(&database, Arc::new(SystemClock::new()));
    stays("it cannot write", || log.is_writable()).await;
    blocking(|| server.set("default_transaction_read_only", "on"));
    eventually("it can write", Duration::from_secs(4), || !log.is_writable()).await;
    blocking(|| server.set("default_transaction_read_only", "off"));
    eventually("it cannot write", Duration::from_secs(4), || log.is_writable()).await;
}

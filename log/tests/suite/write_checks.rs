//! A node that cannot append says so before a request has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::time::{Clock, SystemClock};
use events_log::{Log, LogOptions};
use testing::postgres::{TestDatabase, TestServer};
use tokio::time::sleep;

use crate::eventually::eventually;
use crate::test_log::blocking;
use crate::wrong_clock::WrongClock;

fn open(database: &TestDatabase, clock: Arc<dyn Clock>) -> Log {
    let address = database.url().parse().expect("an address");
    blocking(|| {
        Log::migrate_shared(&address).expect("a ledger");
        Log::open_shared(&address, "node", LogOptions::new(clock)).expect("the log opens")
    })
}

/// A node with the rights of a gateway alone.
fn open_as_gateway(database: &TestDatabase) -> Log {
    blocking(|| {
        Log::migrate_shared(&database.url().parse().expect("an address")).expect("a ledger");
        let gateway = database.gateway_url().parse().expect("an address");
        Log::open_shared(&gateway, "node", LogOptions::new(Arc::new(SystemClock::new()))).expect("the log opens")
    })
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
    let clock = Arc::new(WrongClock::wrong_by(7_000_000));
    let log = open(&database, clock.clone());
    eventually("it can write", Duration::from_millis(500), || !log.is_writable()).await;
    stays("it can write", || !log.is_writable()).await;
    clock.set(0);
    eventually("it cannot write", Duration::from_secs(3), || log.is_writable()).await;
    stays("it cannot write", || log.is_writable()).await;
    clock.set(7_000_000);
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

/// Holds: shared.outages
#[tokio::test]
async fn an_idle_node_whose_user_may_not_insert_any_more_is_not_writable() {
    let database = TestDatabase::create();
    let log = open_as_gateway(&database);
    eventually("it cannot write", Duration::from_secs(3), || log.is_writable()).await;
    blocking(|| database.execute("REVOKE INSERT ON ledger.contexts FROM ledgerway_gateway"));
    eventually("it can write", Duration::from_secs(4), || !log.is_writable()).await;
    stays("it can write", || !log.is_writable()).await;
    blocking(|| database.execute("GRANT INSERT ON ledger.contexts TO ledgerway_gateway"));
    eventually("it cannot write", Duration::from_secs(4), || log.is_writable()).await;
}

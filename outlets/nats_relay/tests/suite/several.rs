//! Several nodes of one ledger, of which one relays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::time::SystemClock;
use events_log::{DatabaseAddress, Log, LogOptions};
use testing::nats::NatsServer;
use testing::postgres::TestDatabase;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::stored;
use crate::world::{NO_LIMIT, Relaying, SOON, end, jetstream, record};

async fn open(database: &DatabaseAddress, node: &'static str) -> Log {
    let (database, options) = (database.clone(), LogOptions::new(Arc::new(SystemClock::new())));
    spawn_blocking(move || Log::open_shared(&database, node, options).expect("the log opens")).await.expect("no panic")
}

/// Holds: nats.copy
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_takes_over_from_one_that_is_gone() {
    let database = TestDatabase::create();
    let address: DatabaseAddress = database.url().parse().expect("an address");
    let migrated = address.clone();
    spawn_blocking(move || Log::migrate_shared(&migrated).expect("a ledger")).await.expect("no panic");
    let (one, two) = (open(&address, "aaaaaaaaaaaaaaaa").await, open(&address, "bbbbbbbbbbbbbbbb").await);
    let nats = NatsServer::start();
    let first = Relaying::start(&one, &nats.url(), NO_LIMIT);
    record(&one, 50).await;
    let watching = jetstream(&nats.url()).await;
    let reached = async |position: u64| {
        let began = Instant::now();
        while end(&watching).await != Some(position) {
            assert!(began.elapsed() < SOON, "{:?}", end(&watching).await);
            sleep(Duration::from_millis(10)).await;
        }
    };
    reached(50).await;
    let second = Relaying::start(&two, &nats.url(), NO_LIMIT);
    record(&two, 50).await;
    reached(100).await;
    assert_eq!((first.status.read().position, second.status.read().position), (100, 0));
    first.kill().await;
    record(&one, 50).await;
    reached(150).await;
    // What it has relayed is confirmed a moment after it is in the stream.
    let began = Instant::now();
    while second.status.read().position != 150 {
        assert!(began.elapsed() < SOON, "it has relayed up to {}", second.status.read().position);
        sleep(Duration::from_millis(10)).await;
    }
    stored::must_be_copy(&one, &watching, 1).await;
    drop(second);
    spawn_blocking(move || [one, two].map(|log| log.close())).await.expect("no panic");
}

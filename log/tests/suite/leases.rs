//! Leases of roles: one process has a role at a time, another takes over, and what was remembered stays.

use std::sync::Arc;
use std::time::Duration;

use events::time::{Clock, SystemClock};
use events_log::role::{Role, RoleMemory, RoleStatus};
use events_log::{Lease, Log, LogOptions};
use testing::postgres::TestDatabase;
use testing::proxy::{Proxy, ProxyMode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::test_log::blocking;

/// Much longer than a lease.
const SOON: Duration = Duration::from_secs(20);
/// Longer than a lease that nobody renews.
const SEVERAL_TERMS: Duration = Duration::from_secs(7);

fn open(url: &str, node: &str) -> Log {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    blocking(|| Log::open_shared(&url.parse().expect("an address"), node, LogOptions::new(clock)).expect("a ledger"))
}

fn migrated() -> TestDatabase {
    let database = TestDatabase::create();
    blocking(|| Log::migrate_shared(&database.url().parse().expect("an address")).expect("an empty database"));
    database
}

async fn lease(log: &Log, role: Role) -> Lease {
    timeout(SOON, log.lease(&RoleStatus::new(role)).wait()).await.expect("the role is free soon")
}

fn memory(position: u64) -> RoleMemory {
    RoleMemory { position, detail: format!("{position} so far") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_a_role_until_it_gives_it_up() {
    let database = migrated();
    let (one, other) = (open(&database.gateway_url(), "one"), open(&database.gateway_url(), "other"));
    let held = lease(&one, Role::Relay).await;
    // Its renewals keep it.
    assert!(
        timeout(SEVERAL_TERMS, other.lease(&RoleStatus::new(Role::Relay)).wait()).await.is_err(),
        "two have the role"
    );
    assert!(held.is_held());
    // Another role is another process's.
    let archive = lease(&other, Role::Archive).await;
    let token = held.token();
    held.release().await;
    let taken = lease(&other, Role::Relay).await;
    assert!(taken.token() > token, "{} after {token}", taken.token());
    assert!(archive.is_held() && taken.is_held());
    // A process that ends gives up all that it has.
    blocking(|| other.close());
    for role in [Role::Relay, Role::Archive] {
        lease(&one, role).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_cut_off_loses_its_role_before_another_one_gets_it() {
    let database = migrated();
    let proxy = Proxy::start(database.socket());
    let cut_off = open(&database.url_through(proxy.port), "cut-off");
    let other = open(&database.url(), "other");
    let held = lease(&cut_off, Role::Analysts).await;
    held.remember(memory(5)).await.expect("it is remembered");
    let status = RoleStatus::new(Role::Analysts);
    let mut holder = other.lease(&status);
    let mut taking = JoinSet::new();
    taking.spawn(async move { holder.wait().await });
    proxy.set(ProxyMode::Refused);
    timeout(SOON, held.lost()).await.expect("it notices");
    assert!(!held.is_held() && taking.try_join_next().is_none(), "the other one waits for the end of the lease");
    let taken = timeout(SOON, taking.join_next()).await.expect("it takes over").expect("a task").expect("no panic");
    assert!(taken.token() > held.token());
    assert_eq!(taken.memory().await.expect("it is read"), Some(memory(5)));
    taken.remember(memory(6)).await.expect("it is remembered");
    // Too late: nothing is changed.
    proxy.set(ProxyMode::Open);
    let late = held.remember(memory(4)).await;
    assert_eq!(taken.memory().await.expect("it is read"), Some(memory(6)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_of_a_folder_has_every_role() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || LogOptions::new(Arc::new(SystemClock::new()));
    let log = blocking(|| Log::open(folder.path(), options()).expect("a ledger"));
    let held = lease(&log, Role::Relay).await;
    assert!(held.is_held() && held.token() == 0);
    assert_eq!(held.memory().await.expect("it is read"), None);
    held.remember(memory(9)).await.expect("it is remembered");
    assert!(timeout(Duration::from_millis(100), held.lost()).await.is_err());
    held.release().await;
    blocking(|| log.close());
    drop(log);
    let again = blocking(|| Log::open(folder.path(), options()).expect("the ledger"));
    assert_eq!(lease(&again, Role::Relay).await.memory().await.expect("it is read"), Some(memory(9)));
}

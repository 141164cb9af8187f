//! Behaviour of the driver that every outlet relies on.

use std::sync::atomic::Ordering;

use events::role::{Role, RoleState, RoleStatus};
use tokio::time::timeout;

use crate::world::{Behaviour, LONG_PAUSE, Running, SOON, in_folder, migrated, node, soon};

fn is_failing(status: &RoleStatus, reason: &str) -> bool {
    matches!(status.read().state, RoleState::Failing { why, .. } if why == reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outlet_that_fails_gives_its_role_up_before_it_pauses() {
    let database = migrated();
    let (one, other) = (node(&database, "one"), node(&database, "other"));
    let failing = Running::start(&one, Behaviour::Fails);
    soon(|| is_failing(&failing.status, "no webhook")).await;
    let mut holder = other.lease(&RoleStatus::new(Role::Alerts));
    let taken = timeout(LONG_PAUSE / 2, holder.wait()).await.expect("the role is free while the first one pauses");
    assert_eq!(failing.counts.begun.load(Ordering::SeqCst), 1);
    // It asks for the role again, and shows what it waits for.
    soon(|| failing.status.read().state == RoleState::Waiting).await;
    taken.release().await;
    soon(|| failing.counts.begun.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outlet_that_cannot_open_its_place_leaves_the_role_to_others() {
    let database = migrated();
    let (one, other) = (node(&database, "one"), node(&database, "other"));
    let without = Running::start(&one, Behaviour::CannotOpen);
    soon(|| is_failing(&without.status, "no place")).await;
    let with = Running::start(&other, Behaviour::Works);
    soon(|| with.status.read().state == RoleState::Working).await;
    soon(|| without.counts.opened.load(Ordering::SeqCst) == 2).await;
    assert!(is_failing(&without.status, "no place"));
    assert_eq!(without.counts.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_ends_when_another_process_takes_the_role() {
    let database = migrated();
    let log = node(&database, "one");
    let running = Running::start(&log, Behaviour::Works);
    soon(|| running.status.read().state == RoleState::Working).await;
    database.execute(
        "UPDATE ledger.leases SET node = 'other', token = token + 1, held_until = held_until + 3600000000
         WHERE role = 'alerts'",
    );
    soon(|| running.status.read().state == RoleState::Waiting).await;
    assert_eq!(running.counts.dropped.load(Ordering::SeqCst), 1);
    database.execute("UPDATE ledger.leases SET held_until = 0 WHERE role = 'alerts'");
    soon(|| running.counts.begun.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outlet_ends_with_the_log() {
    let (_folder, log) = in_folder();
    let mut running = Running::start(&log, Behaviour::EndsWithTheLog);
    soon(|| running.status.read().state == RoleState::Working).await;
    tokio::task::block_in_place(|| log.close());
    timeout(SOON, running.task.join_next()).await.expect("it ends").expect("a task").expect("no panic");
    assert_eq!(running.counts.begun.load(Ordering::SeqCst), 1, "there is no more to do");
}

//! A ledger in a folder is one file of one process at a time, which nobody else changes.

use std::time::Duration;

use events::event::{Event, Hold};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::time::Period;
use events_log::{Log, LogError, LogOptions};
use tempfile::TempDir;

use crate::facts::{admission, clock, context, ended, id};
use crate::log_steps::{TTL, everything, hold, must_be_whole, must_verify, open, open_budget, settle};

#[tokio::test]
async fn what_a_killed_process_left_opens_with_the_balances_of_its_last_event() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let left = TempDir::new().expect("another folder");
    // Until a copy is taken before the state rows are written.
    let mut request = 10;
    loop {
        settle(hold(&log, request, 1).await.expect("it fits"), 0).await;
        let open_hold = hold(&log, request + 1, 50).await.expect("it fits");
        for file in ["ledger.db", "ledger.db-wal"] {
            std::fs::copy(folder.path().join(file), left.path().join(file)).expect("a copy");
        }
        let copy = rusqlite::Connection::open(left.path().join("ledger.db")).expect("the copy opens");
        let state: u64 =
            copy.query_row("SELECT position FROM ledger_checkpoint", [], |row| row.get(0)).expect("a position");
        if state < log.head().position {
            std::mem::forget(open_hold);
            break;
        }
        drop(open_hold);
        request += 2;
    }
    let log = open(left.path(), &clock);
    assert!(hold(&log, 1, 51).await.is_err(), "50 of 100 are held");
    settle(hold(&log, 2, 50).await.expect("50 fit"), 50).await;
    must_verify(&log, 1);
    must_be_whole(&everything(&log));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let _log = open(folder.path(), &clock);
    let second = Log::open(folder.path(), LogOptions::new(clock));
    assert!(matches!(second, Err(events_log::OpenError::Folder(events_log::lock::FolderError::InUse { .. }))));
}

#[tokio::test]
async fn while_somebody_else_has_the_lock_nothing_is_recorded_and_then_all_is_well() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Total).await;
    let kept = hold(&log, 1, 10).await.expect("it fits");
    let other = rusqlite::Connection::open(folder.path().join(events_log::LEDGER_FILE)).expect("a second connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    assert!(matches!(log.admit(admission(2, 1, 10, TTL), None).await, Err(LogError::Append(_))));
    let end = kept.end(Vec::new(), Outcome::Completed(ended(7)), Charge::Settle(NanoUsd::new(7))).await;
    assert!(end.is_err(), "what is not durable is not answered");
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    hold(&log, 3, 94).await.expect_err("10 are held, or 7 charged: 94 do not fit beside either");
    let mut head = log.watch_head();
    let caught_up =
        head.wait_for(|_| everything(&log).iter().any(|event| matches!(event.event, Event::Hold(Hold::Settled(_)))));
    tokio::time::timeout(Duration::from_secs(5), caught_up).await.expect("the kept end is recorded").expect("a head");
    let events = everything(&log);
    let failed =
        events.iter().find(|event| event.event.name() == "inference.failed").expect("its client saw a failure");
    assert_eq!(failed.context, context(1).in_request(id(1)));
    must_be_whole(&events);
}

#[tokio::test]
async fn events_are_never_changed_nor_deleted() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Total).await;
    log.close();
    let file = rusqlite::Connection::open(folder.path().join(events_log::LEDGER_FILE)).expect("a connection");
    assert!(file.execute("UPDATE events SET payload = '{}'", []).is_err());
    assert!(file.execute("DELETE FROM events", []).is_err());
}

#[tokio::test]
async fn a_closed_log_is_one_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().expect("a folder");
    let ledger = folder.path().join(events_log::LEDGER_FILE);
    let log = open(folder.path(), &clock());
    open_budget(&log, 1, 1000, Period::Day).await;
    // An open read connection would keep SQLite from moving all pages by itself.
    let _reader = log.reader().expect("a reader");
    log.close();
    let copy = TempDir::new().expect("another folder");
    std::fs::copy(&ledger, copy.path().join(events_log::LEDGER_FILE)).expect("a copy");
    assert_eq!(everything(&open(copy.path(), &clock())).len(), 1);
    assert_eq!(std::fs::metadata(&ledger).expect("its mode").permissions().mode() & 0o777, 0o600);
}

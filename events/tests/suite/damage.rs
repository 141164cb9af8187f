//! `verify` is silent on a sound log and names the position of each damage.

use std::path::Path;

use events::event::StreamKind;
use events::event::admin::Scope;
use events::ledger::{Charge, Outcome};
use events::log::{Admitted, LEDGER_FILE, Log, LogOptions, Reader};
use events::money::NanoUsd;
use events::time::Period;
use events::verify::{VerifyError, verify};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::facts::{admission, append, budget, clock, ended, id, opened};

/// Two budgets, one settled request (positions 3 to 6), one that still holds its money (7 and 8).
async fn sound_log(folder: &Path) {
    let log = Log::open(folder, LogOptions::new(clock())).expect("the log opens");
    for (number, scope) in [(1, Scope::Tenant(id(1))), (2, Scope::Key(id(1)))] {
        let event = opened(budget(number, scope, 1000, Period::Day));
        log.append(append(StreamKind::Budget, id(number), 0, event)).await.expect("a budget");
    }
    for request in [1, 2] {
        let Ok(Admitted::Hold(hold)) = log.admit(admission(request, 1, 100, std::time::Duration::from_secs(60))).await
        else {
            panic!("it fits")
        };
        if request == 1 {
            let charge = Charge::Settle(NanoUsd::new(70));
            hold.end(Vec::new(), Outcome::Completed(ended(70)), charge).await.expect("the end is recorded");
        } else {
            std::mem::forget(hold);
        }
    }
    log.close();
}

fn check(folder: &Path) -> Result<events::verify::Sound, VerifyError> {
    verify(&Reader::open(&folder.join(LEDGER_FILE)).expect("the ledger opens"))
}

async fn damaged(sql: &str) -> VerifyError {
    let folder = TempDir::new().expect("a folder");
    sound_log(folder.path()).await;
    check(folder.path()).expect("a sound log");
    let ledger = Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger opens");
    ledger
        .execute_batch("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted;")
        .expect("the guards are removed");
    ledger.execute_batch(sql).expect("the damage is done");
    drop(ledger);
    check(folder.path()).expect_err("the damage is found")
}

async fn position_of(sql: &str) -> u64 {
    match damaged(sql).await {
        VerifyError::Broken { position, .. } => position,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn damage_to_events_is_named_by_its_position() {
    let change = |field: &str, value: &str, at: u64| {
        format!("UPDATE events SET payload = json_set(payload, '$.{field}', '{value}') WHERE position = {at}")
    };
    assert_eq!(position_of("DELETE FROM events WHERE position = 5").await, 6, "a deleted event");
    assert_eq!(position_of("UPDATE events SET recorded_at = recorded_at - 1 WHERE position = 5").await, 5, "time");
    assert_eq!(position_of("UPDATE events SET sequence = 7 WHERE position = 5").await, 5, "a sequence");
    assert_eq!(
        position_of("UPDATE events SET event_type = 'inference.vanished' WHERE position = 5").await,
        5,
        "a type"
    );
    assert_eq!(position_of("UPDATE events SET payload = '{' WHERE position = 4").await, 4, "a payload");
    assert_eq!(position_of(&change("charged_usd", "0.000000071", 6)).await, 6, "a charge");
    assert_eq!(position_of(&change("held_usd", "0.000000099", 6)).await, 6, "a hold at its end");
    assert_eq!(position_of(&change("held_usd", "0.000001001", 4)).await, 4, "a hold above the budget");
    assert_eq!(position_of(&change("limit_usd", "0.000000099", 2)).await, 4, "a limit below the hold");
    assert_eq!(
        position_of("UPDATE events SET payload = json_remove(payload, '$.budgets[1]') WHERE position = 4").await,
        4,
        "a budget left out"
    );
    let swap = "UPDATE events SET position = -5 WHERE position = 5; UPDATE events SET position = 5 WHERE position = 6;
                UPDATE events SET position = 6 WHERE position = -5";
    assert_eq!(position_of(swap).await, 5, "a swapped pair");
    let double = "INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  SELECT 9, recorded_at, aggregate_type, aggregate_id, 3, event_type, event_version, payload, metadata FROM events WHERE position = 6";
    assert_eq!(position_of(double).await, 9, "a doubled settlement");
}

#[tokio::test]
async fn damage_beside_the_log_is_found_at_the_head() {
    for sql in [
        "UPDATE balances SET settled = settled + 1",
        "UPDATE balances SET held = 0",
        "DELETE FROM balances",
        "DELETE FROM open_holds",
        "UPDATE open_holds SET held = held + 1",
    ] {
        let found = damaged(sql).await;
        assert!(matches!(found, VerifyError::BesideTheLog { position: 8, .. }), "{sql}: {found}");
    }
}

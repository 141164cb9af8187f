//! Damage to the stored state: reported at the position that the state is as of.

use std::collections::BTreeSet;

use events_log::LEDGER_FILE;
use events_log::verify::VerifyError;
use rusqlite::Connection;

use super::said_after;
use super::story::SampleLog;

#[tokio::test]
async fn rows_that_are_not_the_fold_are_found() {
    let log = SampleLog::whole().await;
    let mut said = BTreeSet::new();
    for (sql, why) in [
        ("UPDATE balances SET settled = settled + 1", "in the table of balances"),
        ("UPDATE balances SET held = 0", "in the table of balances"),
        ("DELETE FROM balances", "there is no balance of"),
        ("DELETE FROM balances WHERE settled = (SELECT min(settled) FROM balances)", "there is no balance of"),
        (
            "INSERT INTO balances SELECT budget_id, window_start + 86400000000, limit_nanos, 0, 0, position, '' FROM balances
             WHERE window_start = (SELECT max(window_start) FROM balances) LIMIT 1",
            "which no event has moved",
        ),
        ("UPDATE balances SET budget_id = 'bud_x' WHERE settled = (SELECT min(settled) FROM balances)", "bud_x"),
        ("DELETE FROM open_holds", "the table of open holds differs"),
        ("UPDATE open_holds SET held = held + 1", "the table of open holds differs"),
        ("UPDATE open_holds SET expires_at = expires_at + 1", "the table of open holds differs"),
        ("UPDATE open_holds SET hold = json_set(hold, '$.model', 'other')", "the table of open holds differs"),
        ("UPDATE open_holds SET hold = json_set(hold, '$.context.actor', 'operator')", "the table of open holds differs"),
        ("UPDATE open_holds SET hold = json_remove(hold, '$.windows[0]')", "the table of open holds differs"),
        ("UPDATE open_holds SET hold = '{'", "cannot be read"),
        ("DELETE FROM owner_blocks", "the stored blocks of"),
        ("DELETE FROM owner_blocks WHERE block = 1", "the stored blocks of"),
        ("UPDATE owner_blocks SET block = block + 1000 WHERE block = 0", "the stored blocks of"),
        ("INSERT INTO owner_blocks VALUES ('ten_x', 0)", "ten_x"),
        (
            "INSERT INTO open_holds SELECT 'req_ffffffffffffffffffffffffffffffff', held, expires_at, hold FROM open_holds",
            "differs from the events for req_ffff",
        ),
    ] {
        match said_after(&log, sql) {
            VerifyError::StoredState { position, reason } => {
                assert_eq!(position, log.head, "{sql}: {reason}");
                assert!(reason.contains(why), "{sql}: {reason}");
                said.insert(reason);
            }
            other => panic!("{sql}: {other}"),
        }
    }
    assert!(said.len() > 7, "every kind has words of its own: {said:#?}");
}

#[tokio::test]
async fn rows_of_another_position_than_they_say_are_found() {
    let log = SampleLog::whole().await;
    let earlier = format!("UPDATE ledger_checkpoint SET position = {}", log.completed);
    let later = "UPDATE ledger_checkpoint SET position = position + 1";
    for (sql, at) in [(earlier.as_str(), log.completed), (later, log.head + 1)] {
        match said_after(&log, sql) {
            VerifyError::StoredState { position, .. } => assert_eq!(position, at, "{sql}"),
            other => panic!("{sql}: {other}"),
        }
    }
}

/// A file that was rewritten without the unique index over streams.
#[tokio::test]
async fn a_table_that_lost_its_uniqueness_is_found() {
    let log = SampleLog::whole().await;
    let rebuilt = "ALTER TABLE events RENAME TO before;
         CREATE TABLE events (position INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, aggregate_type TEXT NOT NULL,
             aggregate_id TEXT NOT NULL, sequence INTEGER NOT NULL, event_type TEXT NOT NULL,
             event_version TEXT NOT NULL, payload TEXT NOT NULL, metadata TEXT NOT NULL) STRICT;
         INSERT INTO events SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type,
             event_version, payload, metadata FROM before;
         DROP TABLE before";
    let said = said_after(&log, rebuilt).to_string();
    assert!(said.contains("the index that makes streams unique is gone"), "{said}");
}

#[tokio::test]
async fn a_file_whose_pages_were_overwritten_is_broken_or_cannot_be_read() {
    let log = SampleLog::whole().await;
    let path = log.folder.path().join(LEDGER_FILE);
    let pages: u64 = {
        let ledger = Connection::open(&path).expect("the ledger opens");
        ledger.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("pages")
    };
    let sound = std::fs::read(&path).expect("the file");
    let size = sound.len() / usize::try_from(pages).expect("few");
    let mut found = 0;
    for page in 1..usize::try_from(pages).expect("few") {
        let mut damaged = sound.clone();
        damaged.get_mut(page * size..(page + 1) * size).expect("a page").fill(0x5a);
        std::fs::write(&path, damaged).expect("the file is overwritten");
        found += u32::from(super::check(log.folder.path()).is_err());
    }
    // The other pages belong to tables that are not checked.
    assert!(found >= 5, "{found} of {pages}");
}

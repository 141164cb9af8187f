//! The comparison of views with their log: it finds the first row that differs.

use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events_log::{LEDGER_FILE, Log, open_reader};
use rusqlite::{Connection, params};

use super::facts::Story;
use super::{all_projectors, open};
use crate::views::compare::{CompareError, Comparison, compare};
use crate::views::store::VIEWS_FILE;

/// A folder with a log of these facts.
pub fn folder_of(facts: &[Arc<Recorded>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    Log::migrate(dir.path()).expect("an empty ledger");
    let ledger = Connection::open(dir.path().join(LEDGER_FILE)).expect("the ledger opens");
    ledger.execute_batch("BEGIN").expect("a transaction");
    for recorded in facts {
        let row = params![
            recorded.position,
            recorded.recorded_at.timestamp_micros(),
            recorded.stream.kind.as_str(),
            recorded.stream.id,
            // A unique value is enough: nothing here reads sequences.
            recorded.position,
            recorded.event.name(),
            recorded.event.version().to_string(),
            recorded.event.payload().expect("JSON"),
            serde_json::to_string(&recorded.context).expect("JSON"),
        ];
        ledger.execute(INSERT, row).expect("an event");
    }
    ledger.execute_batch("COMMIT").expect("the events");
    dir
}

const INSERT: &str = "INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type,
                      event_version, payload, metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

fn compared(dir: &Path) -> Result<Comparison, CompareError> {
    compare(dir, &*open_reader(&dir.join(LEDGER_FILE)).expect("the ledger opens"), &mut |_, _| {})
}

/// The comparison after views of the whole story, applied in two batches, were damaged.
fn compared_after(damage: &str) -> Result<Comparison, CompareError> {
    let facts = Story::whole();
    let dir = folder_of(&facts);
    let mut store = open(dir.path(), all_projectors());
    for batch in facts.chunks(facts.len() / 2 + 1) {
        store.apply(batch).expect("a batch is applied");
    }
    drop(store);
    let same = compared(dir.path()).expect("the same");
    assert!(matches!(same, Comparison::Same { rows } if rows > 20), "{same:?}");
    let views = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views open");
    views.execute_batch(damage).expect("the damage is done");
    compared(dir.path())
}

/// The difference that is reported after views were damaged.
fn difference_after(damage: &str) -> String {
    match compared_after(damage) {
        Err(CompareError::Different { position, reason }) => {
            assert!(position > 0, "{damage}");
            reason
        }
        other => panic!("{damage}: {other:?}"),
    }
}

#[test]
fn every_table_of_the_views_is_compared() {
    let dir = folder_of(&[]);
    drop(open(dir.path(), all_projectors()));
    let views = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views open");
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'rows_projections'";
    let tables: Result<Vec<String>, _> =
        views.prepare(tables).expect("SQL").query_map([], |row| row.get(0)).expect("rows").collect();
    for table in tables.expect("names") {
        let name = table.strip_prefix("rows_").expect("the prefix of the views' tables");
        assert!(include_str!("../compare.rs").contains(&format!("name: \"{name}\"")), "{table}");
    }
}

#[test]
fn a_row_that_was_changed_is_named() {
    for (damage, row) in [
        ("UPDATE rows_budgets SET limit_nanos = limit_nanos + 1", "of budgets and the log differ"),
        ("UPDATE rows_budget_windows SET settled_nanos = settled_nanos + 1", "of budget_windows and the log differ"),
        (
            "UPDATE rows_usage_by_hour SET cost_nanos = cost_nanos + 1 WHERE cost_nanos > 0",
            "of usage_by_hour and the log differ",
        ),
        ("UPDATE rows_usage_latency SET latency_requests = '[2]'", "of usage_latency and the log differ"),
        ("UPDATE rows_inferences SET status = 'failed' WHERE status = 'completed'", "of inferences and the log differ"),
        ("UPDATE rows_audit SET actor = 'somebody'", "the row 1 of audit and the log differ"),
        ("UPDATE rows_catalogue SET body = '{}' WHERE kind = 'key'", "the row key/"),
    ] {
        let difference = difference_after(damage);
        assert!(difference.contains(row), "{damage}: {difference}");
    }
}

#[test]
fn a_row_that_is_missing_or_was_added_is_named() {
    let tables = [
        "budgets", "budget_windows", "usage_by_hour", "usage_latency", "failed_calls", "inferences",
        "inference_incidents", "other_usage", "audit", "catalogue",
    ];
    for table in tables {
        let difference = difference_after(&format!("DELETE FROM rows_{table}"));
        assert!(difference.ends_with(&format!("of {table} is missing")), "{difference}");
    }
    let last = "DELETE FROM rows_audit WHERE position = (SELECT max(position) FROM rows_audit)";
    assert!(difference_after(last).ends_with("of audit is missing"));
    let difference =
        difference_after("INSERT INTO rows_usage_latency VALUES (0, '', '', '', '', '', '', '', '', '[1]', '[1]')");
    assert!(difference.starts_with("no event made the row 0/"), "{difference}");
    let difference = difference_after("INSERT INTO rows_budget_windows VALUES ('bud_z', 0, 0, 0, 0)");
    assert_eq!(difference, "no event made the row bud_z/0 of budget_windows");
}

#[test]
fn views_beyond_the_head_of_the_log_are_not_of_it() {
    let compared = compared_after("UPDATE rows_projections SET position = position + 1");
    assert!(matches!(compared, Ok(Comparison::OtherLedger { .. })), "{compared:?}");
}

#[test]
fn views_that_are_behind_are_compared_up_to_where_they_stand() {
    let facts = Story::whole();
    let dir = folder_of(&facts);
    open(dir.path(), all_projectors()).apply(facts.get(..9).expect("nine facts")).expect("a batch is applied");
    assert!(matches!(compared(dir.path()), Ok(Comparison::Same { .. })));
}

#[test]
fn views_that_are_absent_or_of_another_version_are_left_alone() {
    let facts = Story::whole();
    let dir = folder_of(&facts);
    assert!(matches!(compared(dir.path()), Ok(Comparison::Absent)));
    open(dir.path(), all_projectors()).apply(&facts).expect("a batch is applied");
    let views = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views open");
    views.execute_batch("UPDATE rows_projections SET version = 0 WHERE name = 'audit'").expect("a change");
    assert!(matches!(compared(dir.path()), Ok(Comparison::OtherVersion)));
}

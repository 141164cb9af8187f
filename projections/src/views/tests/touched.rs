//! The notes of changed rows name every row that changed, and no copy has to trust them where they are incomplete.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;

use super::facts::Story;
use super::{all_projectors, open, rows};
use crate::views::store::Store;
use crate::views::touched::CopiedPosition;
use crate::views::{Projector, View};

/// The tables whose changes are noted: the names of both, and the columns of the key.
const NOTED: [(&str, &str, &str); 6] = [
    ("rows_budgets", "touched_budgets", "budget_id"),
    ("rows_budget_windows", "touched_budget_windows", "budget_id, window_start"),
    (
        "rows_usage_by_hour",
        "touched_usage",
        "hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer",
    ),
    (
        "rows_usage_latency",
        "touched_usage",
        "hour, partner_id, tenant_id, user_id, key_id, model, provider, backend, payer",
    ),
    ("rows_inferences", "touched_inferences", "position"),
    ("rows_catalogue", "touched_catalogue", "kind, id"),
];

fn tracked(dir: &Path, copied: &CopiedPosition) -> Store {
    let mut store = open(dir, all_projectors());
    store.track(copied.clone()).expect("notes are resumed");
    store
}

/// The rows of a table by their keys.
fn by_key(dir: &Path, table: &str, key: &str) -> BTreeMap<String, String> {
    let row = |row: String| row.split_once('#').map(|(key, row)| (key.to_owned(), row.to_owned())).expect("a row");
    let keys = key.split(", ").collect::<Vec<_>>().join(" || '/' || ");
    rows(dir, &format!("SELECT {keys} || '#', * FROM {table}")).into_iter().map(row).collect()
}

fn noted_after(dir: &Path, touched: &str, key: &str, position: u64) -> BTreeSet<String> {
    let keys = key.split(", ").collect::<Vec<_>>().join(" || '/' || ");
    rows(dir, &format!("SELECT DISTINCT {keys} FROM {touched} WHERE at > {position}")).into_iter().collect()
}

/// `since`, `until` and `swaps` of a view.
fn state(dir: &Path, view: View) -> String {
    rows(dir, &format!("SELECT since, until, swaps FROM touched_views WHERE view = '{}'", view.as_str())).join(";")
}

#[test]
fn every_row_that_changed_after_a_position_is_noted() {
    let facts = Story::whole();
    for batch in [1, 3, 7] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = tracked(dir.path(), &CopiedPosition::default());
        store.begin_tracking(0).expect("notes begin");
        let tables = || NOTED.map(|(table, _, key)| by_key(dir.path(), table, key));
        let mut seen = vec![(0, tables())];
        for events in facts.chunks(batch) {
            store.apply(events).expect("a batch is applied");
            seen.push((events.last().expect("an event").position, tables()));
        }
        let now = tables();
        for (position, before) in seen {
            for ((before, now), (table, touched, key)) in before.iter().zip(&now).zip(NOTED) {
                let noted = noted_after(dir.path(), touched, key, position);
                let keys = before.keys().chain(now.keys()).collect::<BTreeSet<_>>();
                for changed in keys.into_iter().filter(|key| before.get(*key) != now.get(*key)) {
                    assert!(noted.contains(changed), "{table}: {changed} after {position}, {batch} at a time");
                }
            }
        }
        assert_eq!(state(dir.path(), View::Audit), format!("0|{}|0", facts.len()));
    }
}

/// Their new rows are found by their positions.
#[test]
fn rows_of_the_audit_and_of_other_usage_are_never_changed() {
    let facts = Story::whole();
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), all_projectors());
    let mut before = BTreeMap::new();
    for (number, event) in facts.iter().enumerate() {
        store.apply(std::slice::from_ref(event)).expect("an event is applied");
        for table in ["rows_audit", "rows_other_usage"] {
            let now = by_key(dir.path(), table, "position");
            let old: BTreeMap<String, String> = before.insert(table, now.clone()).unwrap_or_default();
            for (key, row) in &old {
                assert_eq!(now.get(key), Some(row), "{table} at {number}");
            }
            let added = now.keys().filter(|key| !old.contains_key(*key));
            added.for_each(|key| assert_eq!(*key, event.position.to_string(), "{table}"));
        }
    }
    assert_eq!(before.values().filter(|rows| rows.is_empty()).count(), 0);
}

#[test]
fn notes_go_on_after_a_restart_and_begin_anew_after_changes_that_nobody_noted() {
    let facts = Story::whole();
    let (first, rest) = facts.split_at(10);
    let (second, third) = rest.split_at(10);
    let dir = tempfile::tempdir().expect("a folder");
    let copied = CopiedPosition::default();
    let mut store = tracked(dir.path(), &copied);
    store.begin_tracking(0).expect("notes begin");
    store.apply(first).expect("a batch is applied");
    drop(store);
    let mut store = tracked(dir.path(), &copied);
    store.apply(second).expect("a batch is applied");
    assert_eq!(state(dir.path(), View::Catalogue), "0|20|0");
    drop(store);
    let mut store = open(dir.path(), all_projectors());
    store.apply(&third[..3]).expect("a batch is applied");
    drop(store);
    let mut store = tracked(dir.path(), &copied);
    assert_eq!(state(dir.path(), View::Catalogue), "0|20|0", "until it has caught up, it notes nothing");
    store.apply(&third[3..4]).expect("a batch is applied");
    store.begin_tracking(24).expect("notes begin");
    assert_eq!(state(dir.path(), View::Catalogue), "24|24|0");
    store.apply(&third[4..]).expect("a batch is applied");
    assert_eq!(state(dir.path(), View::Catalogue), format!("24|{}|0", facts.len()));
    let oldest = rows(dir.path(), "SELECT count(*) FROM touched_inferences WHERE at <= 24");
    assert_eq!(oldest, ["0"]);
}

#[test]
fn a_view_that_is_not_copied_has_no_notes_and_no_triggers() {
    let facts = Story::whole();
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), all_projectors());
    store.begin_tracking(0).expect("nothing to do");
    store.apply(&facts).expect("a batch is applied");
    let objects = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'touched%' OR type = 'trigger'";
    assert_eq!(rows(dir.path(), objects), ["0"]);
    let triggers =
        store.connection.query_row("SELECT count(*) FROM sqlite_temp_master", [], |row| row.get::<_, u64>(0));
    assert_eq!(triggers, Ok(0));
}

#[test]
fn a_rebuild_is_noted_whether_or_not_changes_are_and_changes_of_the_new_rows_are() {
    let facts = Story::whole();
    let (before, after) = facts.split_at(facts.len() - 6);
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = tracked(dir.path(), &CopiedPosition::default());
    store.begin_tracking(0).expect("notes begin");
    store.apply(before).expect("a batch is applied");
    let rebuilt = |store: &mut Store| {
        let projectors: Vec<Box<dyn Projector>> = View::projectors(&[View::Inferences, View::Catalogue]);
        let mut next = Store::create_next(dir.path(), projectors).expect("a file beside");
        next.apply(before).expect("a batch is applied");
        store.swap_in(next).expect("the rows are replaced");
    };
    rebuilt(&mut store);
    let swapped = format!("{0}|{0}|1", before.len());
    assert_eq!(state(dir.path(), View::Inferences), swapped);
    assert_eq!(state(dir.path(), View::Budgets), format!("0|{}|0", before.len()));
    store.apply(after).expect("a batch is applied");
    let changed = noted_after(dir.path(), "touched_inferences", "position", before.len() as u64);
    let kept = noted_after(dir.path(), "touched_catalogue", "kind, id", before.len() as u64);
    assert!(!changed.is_empty() && !kept.is_empty(), "{changed:?} {kept:?}");
    drop(store);
    let mut store = open(dir.path(), all_projectors());
    let mut next = Store::create_next(dir.path(), View::projectors(&[View::Inferences])).expect("a file beside");
    next.apply(&facts).expect("a batch is applied");
    store.swap_in(next).expect("the rows are replaced");
    assert_eq!(state(dir.path(), View::Inferences), format!("{0}|{0}|2", facts.len()));
}

#[test]
fn notes_that_the_copy_has_passed_are_forgotten_and_so_are_those_of_long_ago() {
    let far = |by: u64| -> Vec<Arc<Recorded>> {
        let moved = |fact: &Arc<Recorded>| Arc::new(Recorded { position: fact.position + by, ..fact.as_ref().clone() });
        Story::whole().iter().map(moved).collect()
    };
    let notes = |dir: &Path| rows(dir, "SELECT min(at) FROM touched_inferences").join("");
    let dir = tempfile::tempdir().expect("a folder");
    let copied = CopiedPosition::default();
    let mut store = tracked(dir.path(), &copied);
    store.begin_tracking(0).expect("notes begin");
    store.apply(&far(0)).expect("a batch is applied");
    let kept = notes(dir.path());
    let beyond = |by: u64| Story::beyond(&far(by));
    store.apply(&beyond(500_000)).expect("a batch is applied");
    assert_eq!(notes(dir.path()), kept, "nothing is copied yet");
    copied.set(99_000);
    store.apply(&beyond(500_100)).expect("a batch is applied");
    assert_eq!(notes(dir.path()), kept, "the database may lose what it has");
    copied.set(200_000);
    store.apply(&beyond(500_200)).expect("a batch is applied");
    assert_eq!(notes(dir.path()), "-");
    assert!(state(dir.path(), View::Audit).starts_with("100000|"), "{}", state(dir.path(), View::Audit));
    store.apply(&beyond(2_000_000)).expect("a batch is applied");
    let since = 2_000_000 + Story::whole().len() + 1 - 1_000_000;
    assert!(state(dir.path(), View::Audit).starts_with(&format!("{since}|")), "{}", state(dir.path(), View::Audit));
}

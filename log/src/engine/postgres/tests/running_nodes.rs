//! Which versions run together, and for how long a process counts as running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use events::event::{EVENT_SET_READ, EVENT_SET_WRITTEN};

use super::*;
use crate::engine::postgres::{Announcements, Listener};
use crate::{LimitSharing, UnusableReason};

const ROWS: &str = "SELECT count(*) FROM ledger.running_nodes";
const SOON: Duration = Duration::from_secs(10);

fn reaches(test: &TestLedger, sql: &str, wanted: i64) {
    let began = std::time::Instant::now();
    while test.number(sql) != wanted {
        assert!(began.elapsed() < SOON, "{sql}: {} instead of {wanted}", test.number(sql));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A node of another version, last seen these seconds ago.
fn other(test: &TestLedger, read: u32, written: u32, seen_ago: u32) {
    test.execute(&format!(
        "INSERT INTO ledger.running_nodes (node, started_at, seen_at, events_read, events_written, address)
         SELECT 'other', 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - {seen_ago}::bigint * 1000000, {read}, {written},
                '10.0.0.7'"
    ));
}

fn joins(test: &TestLedger) -> Result<(), UnusableReason> {
    connect(&test.database, &OwnNode::serving("node"), ids(), now()).map(drop)
}

#[test]
fn a_version_runs_beside_those_that_read_what_it_writes_and_write_what_it_reads() {
    let (read, written) = (EVENT_SET_READ, EVENT_SET_WRITTEN);
    let test = TestLedger::migrated();
    for (other_read, other_written, is_fine) in [
        (read, written, true),
        (read + 1, read, true),
        (read + 1, read + 1, false),
        (written, written, true),
        (written - 1, written - 1, false),
    ] {
        other(&test, other_read, other_written, 9);
        let joined = joins(&test);
        assert_eq!(joined.is_ok(), is_fine, "{other_read}, {other_written}: {joined:?}");
        if let Err(reason) = joined {
            let is_named = match &reason {
                UnusableReason::OlderNode { node, address } => {
                    other_read < read && node == "other" && address == "10.0.0.7"
                }
                UnusableReason::NewerNode { node, address } => {
                    other_read > read && node == "other" && address == "10.0.0.7"
                }
                _ => false,
            };
            assert!(is_named, "{reason}");
            assert_eq!(test.number(ROWS), 1, "it is not registered");
        }
        test.execute("DELETE FROM ledger.running_nodes");
    }
}

#[test]
fn a_node_that_was_not_seen_for_ten_seconds_hinders_nobody_and_is_forgotten_after_a_day() {
    let test = TestLedger::migrated();
    other(&test, 0, 0, 11);
    joins(&test).expect("the other is gone");
    assert_eq!(test.number(ROWS), 2);
    test.execute("DELETE FROM ledger.running_nodes");
    other(&test, 0, 0, 90_000);
    joins(&test).expect("the other is gone");
    assert_eq!(test.number(ROWS), 1);
}

#[test]
fn a_node_shows_each_second_that_it_is_there_and_says_when_it_ends() {
    let test = TestLedger::migrated();
    let listener = Listener::start(&test.database, OwnNode::serving("node"), Announcements::default(), || true, || {})
        .expect("a thread");
    reaches(&test, ROWS, 1);
    reaches(&test, "SELECT count(*) FROM ledger.running_nodes WHERE seen_at > started_at + 1500000", 1);
    // Another node that had not seen it for long has forgotten it.
    test.execute("DELETE FROM ledger.running_nodes");
    reaches(&test, ROWS, 1);
    drop(listener);
    assert_eq!(test.number(ROWS), 0);
}

#[test]
fn a_node_shows_when_it_cannot_append() {
    let test = TestLedger::migrated();
    let nodes_that =
        |can_append: bool| format!("SELECT count(*) FROM ledger.running_nodes WHERE can_append = {can_append}");
    let can_append = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&can_append);
    let can = move || shown.load(Ordering::SeqCst);
    let _listener = Listener::start(&test.database, OwnNode::serving("node"), Announcements::default(), can, || {})
        .expect("a thread");
    reaches(&test, &nodes_that(false), 1);
    can_append.store(true, Ordering::SeqCst);
    reaches(&test, &nodes_that(true), 1);
}

#[test]
fn a_node_shows_whether_it_shares_its_counts_of_rate_limits() {
    let test = TestLedger::migrated();
    let own = OwnNode::serving("node");
    let sign = own.limit_sharing.clone();
    let listener = Listener::start(&test.database, own, Announcements::default(), || true, || {}).expect("a thread");
    let nodes_that = |say: &str| format!("SELECT count(*) FROM ledger.running_nodes WHERE limit_sharing {say}");
    reaches(&test, &nodes_that("IS NULL"), 1);
    for sharing in [LimitSharing::Disconnected, LimitSharing::Connected, LimitSharing::Off] {
        sign.show(sharing);
        reaches(&test, &nodes_that(&format!("= '{}'", sharing.as_str())), 1);
        let running = open_shared_reader(&test.database).expect("a reader").running_nodes().expect("an answer");
        assert_eq!(running[0].limit_sharing, Some(sharing));
    }
    drop(listener);
    other(&test, EVENT_SET_READ, EVENT_SET_WRITTEN, 0);
    test.execute("UPDATE ledger.running_nodes SET limit_sharing = 'as a newer version does'");
    let running = open_shared_reader(&test.database).expect("a reader").running_nodes().expect("an answer");
    assert_eq!((running.len(), running[0].limit_sharing), (1, None));
}

#[test]
fn a_node_comes_after_all_that_registered_before_it_until_they_say_that_they_end() {
    let test = TestLedger::migrated();
    let reader = open_shared_reader(&test.database).expect("a reader");
    let before = |node: &str| -> Option<Vec<(String, bool)>> {
        let earlier = reader.earlier_nodes(node).expect("an answer");
        earlier.map(|nodes| nodes.into_iter().map(|earlier| (earlier.node_id, earlier.could_append_lately)).collect())
    };
    assert_eq!(before("a"), None, "it is not registered");
    let runs = |node: &str, started_at: u32, seen_ago: u32| {
        test.execute(&format!(
            "INSERT INTO ledger.running_nodes (node, started_at, seen_at, events_read, events_written, address)
             SELECT '{node}', {started_at}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - {seen_ago}::bigint * 1000000,
                    1, 1, 'local'"
        ));
    };
    runs("gone", 1, 3_600);
    runs("b", 3, 9);
    runs("c", 2, 9);
    runs("a", 3, 0);
    let (gone, c) = (("gone".to_owned(), false), ("c".to_owned(), true));
    assert_eq!(before("gone"), None, "others may take it for gone");
    assert_eq!(before("c"), Some(vec![gone.clone()]));
    assert_eq!(before("a"), Some(vec![gone.clone(), c.clone()]), "of those that started at once, the first by name");
    assert_eq!(before("b"), Some(vec![gone, c, ("a".to_owned(), true)]));
    test.execute("UPDATE ledger.running_nodes SET can_append = false WHERE node IN ('a', 'c')");
    assert_eq!(before("a"), None, "it cannot record itself");
    assert_eq!(before("b"), Some(vec![("gone".to_owned(), false), ("c".to_owned(), false), ("a".to_owned(), false)]));
    test.execute("UPDATE ledger.running_nodes SET can_append = true");
    test.execute("DELETE FROM ledger.running_nodes WHERE node <> 'a'");
    assert_eq!(before("a"), Some(Vec::new()));
    runs("late", 4, 0);
    test.execute("UPDATE ledger.running_nodes SET serves_requests = false WHERE node = 'a'");
    assert_eq!(before("a"), None, "it is not one of them");
    assert_eq!(before("late"), Some(Vec::new()), "what has other work does not come first");
    let running = reader.running_nodes().expect("an answer");
    assert_eq!(running.iter().map(|running| running.node_id.as_str()).collect::<Vec<_>>(), ["a", "late"]);
    assert_eq!((running[1].started_at, running[1].address.as_str()), (from_micros(4), "local"));
}

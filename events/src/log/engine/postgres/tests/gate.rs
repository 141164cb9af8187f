//! The gate decides who may append, and leaves nothing of a batch that was not appended.

use std::time::Duration;

use super::*;
use crate::log::facts::{Claim, ClaimedKey};
use crate::log::side::ReplyKey;
use crate::log::{Name, SideRow, StoredReply};

const NODES: u128 = 8;
const BATCHES: u128 = 40;

/// The event, a context, a claim, a reply and a side row.
fn with_everything(engine: &PostgresEngine, number: u128) -> Draft {
    let mut draft = one(engine, number);
    let claimed = ClaimedKey { tenant: Uuid::from_u128(number).into(), key: "k".to_owned() };
    draft.claims.push((claimed, Claim { fingerprint: [1; 32], request_id: request(number) }));
    let key = ReplyKey { scope: "s".to_owned(), key: number.to_string() };
    draft.replies.push((key, StoredReply { fingerprint: [2; 32], status: 201, body: "{}".to_owned(), position: 1 }));
    let name = Name { kind: StreamKind::Model, scope: "s".to_owned(), name: number.to_string() };
    draft.side.push(SideRow::ClaimName { name, owner: number.to_string() });
    draft
}

#[test]
fn positions_have_no_gap_and_follow_the_order_of_the_commits_of_eight_nodes() {
    let test = TestLedger::migrated();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = EndsOnDrop(&is_over);
        let reader = scope.spawn(|| {
            let mut session = test.session();
            let mut snapshots = 0;
            while !is_over.load(Ordering::SeqCst) {
                let sql = "SELECT count(*), coalesce(max(position), 0), (SELECT max(last) FROM ledger.batches)
                           FROM ledger.events";
                let seen: (i64, i64, i64) = session
                    .run(async |connection| sqlx::query_as(sql).fetch_one(connection).await)
                    .expect("a snapshot");
                assert_eq!(seen, (seen.0, seen.0, seen.0), "a later position was visible before an earlier one");
                snapshots += 1;
            }
            snapshots
        });
        let nodes: Vec<_> = (0..NODES)
            .map(|node| {
                scope.spawn({
                    let test = &test;
                    move || append_all(&mut test.engine(), node)
                })
            })
            .collect();
        let lost: usize = nodes.into_iter().map(|node| node.join().expect("no panic")).sum();
        drop(end);
        assert!(reader.join().expect("no panic") > 0);
        assert!(lost > 0, "nobody lost a race, so nothing was tested");
    });
    let all = i64::try_from(NODES * BATCHES).expect("a number");
    assert_eq!(test.number("SELECT max(position) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(DISTINCT aggregate_id) FROM ledger.events"), all);
    let broken =
        "SELECT count(*) FROM (SELECT first, lag(last) OVER (ORDER BY first) AS before FROM ledger.batches) AS b
                  WHERE first <> before + 1";
    assert_eq!(test.number(broken), 0);
}

/// Appends the batches of one node, with turns, and returns how many races it lost.
fn append_all(engine: &mut PostgresEngine, node: u128) -> usize {
    let mut lost = 0;
    for number in (0..BATCHES).map(|batch| 1 + node * BATCHES + batch) {
        let mut tries = 0;
        while engine.append(&one(engine, number), None).expect("appended or moved") == AppendOutcome::Moved {
            (lost, tries) = (lost + 1, tries + 1);
            if tries == 1 {
                engine.ask_for_turn();
                engine.wait_for_turn(Duration::from_secs(6));
            }
            assert!(tries < 100, "starved");
            catch_up(engine).expect("readable");
        }
        engine.end_turn();
    }
    lost
}

#[test]
fn of_a_batch_that_lost_a_race_nothing_is_written() {
    let test = TestLedger::migrated();
    let (mut winner, mut loser) = (test.engine(), test.engine());
    let drafts = [
        with_everything(&loser, 2),
        Draft { side: Vec::new(), ..with_everything(&loser, 2) },
        Draft { events: Vec::new(), ..with_everything(&loser, 2) },
        Draft::new(0, at()),
    ];
    committed(&mut winner, |engine| one(engine, 1));
    for draft in drafts {
        assert_eq!(loser.append(&draft, None).expect("decided"), AppendOutcome::Moved);
    }
    for table in ["inference_keys", "idempotency", "names"] {
        assert_eq!(test.number(&format!("SELECT count(*) FROM ledger.{table}")), 0, "{table}");
    }
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 1);
    assert_eq!(test.number("SELECT count(*) FROM ledger.contexts"), 1);
    assert_eq!(catch_up(&mut loser).expect("readable").len(), 1);
    committed(&mut loser, |engine| with_everything(engine, 2));
    committed(&mut loser, |engine| Draft { events: Vec::new(), ..with_everything(engine, 3) });
    for (table, rows) in [("inference_keys", 2), ("idempotency", 2), ("names", 2), ("events", 2), ("contexts", 2)] {
        assert_eq!(test.number(&format!("SELECT count(*) FROM ledger.{table}")), rows, "{table}");
    }
}

#[test]
fn what_cannot_be_recorded_leaves_nothing_behind_and_the_log_goes_on() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    committed(&mut engine, |engine| one(engine, 1));
    for draft in [one(&engine, 1), Draft { events: one(&engine, 1).events, ..with_everything(&engine, 2) }] {
        let error = engine.append(&draft, None).expect_err("the sequence is taken");
        assert!(!error.may_be_recorded(), "{error}");
    }
    assert_eq!(test.number("SELECT max(last) FROM ledger.batches"), 1);
    committed(&mut engine, |engine| with_everything(engine, 2));
}

#[test]
fn a_time_more_than_five_seconds_ahead_of_the_database_is_refused() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    let ahead = |seconds: u64| now() + Duration::from_secs(seconds);
    let error = engine.append(&Draft { recorded_at: ahead(7), ..one(&engine, 1) }, None).expect_err("too far ahead");
    assert!(matches!(error, LogError::ClockAhead { by } if (5..=7).contains(&by.as_secs())), "{error}");
    assert!(!error.may_be_recorded());
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 0);
    committed(&mut engine, |engine| Draft { recorded_at: ahead(4), ..one(engine, 1) });
}

#[test]
fn a_time_further_behind_the_database_than_allowed_is_refused() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    engine.clock_limits = ClockLimits::with_behind_max(Duration::from_secs(60));
    let behind = |seconds: u64| now() - Duration::from_secs(seconds);
    for refused in [Draft { recorded_at: behind(62), ..one(&engine, 1) }, Draft::new(0, behind(62))] {
        let error = engine.append(&refused, None).expect_err("too far behind");
        assert!(matches!(error, LogError::ClockBehind { by } if (60..=65).contains(&by.as_secs())), "{error}");
        assert!(!error.may_be_recorded());
    }
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 0);
    committed(&mut engine, |engine| Draft { recorded_at: behind(50), ..one(engine, 1) });
}

#[test]
fn a_log_that_was_restored_from_an_older_copy_is_not_appended_to() {
    let test = TestLedger::migrated();
    let (mut ours, mut theirs) = (test.engine(), test.engine());
    for number in 1..=3 {
        committed(&mut ours, |engine| one(engine, number));
    }
    catch_up(&mut theirs).expect("readable");
    committed(&mut ours, |engine| one(engine, 4));
    test.execute(
        "SET session_replication_role = replica;
         DELETE FROM ledger.events WHERE position > 3; DELETE FROM ledger.batches WHERE first > 3",
    );
    let must_fork = |engine: &mut PostgresEngine, head: u64| {
        let drafts = [one(engine, 9), with_everything(engine, 9), Draft::new(4, at())];
        let errors = drafts.iter().map(|draft| engine.append(draft, None).expect_err("another log"));
        for error in errors.collect::<Vec<_>>().into_iter().chain([engine.since(4).expect_err("another log")]) {
            assert!(matches!(error, LogError::Forked { ours: 4, theirs } if theirs == head), "{error}");
        }
    };
    must_fork(&mut ours, 3);
    committed(&mut theirs, |engine| one(engine, 5));
    must_fork(&mut ours, 4);
    assert_eq!(test.number("SELECT max(position) FROM ledger.events"), 4);
}

//! The rows of the state, which any node writes and any node begins with.

use std::collections::BTreeMap;

use events::ledger::Balances;

use super::*;
use crate::draft::StateRows;
use crate::owners::OwnerBlocks;
use crate::state::State;

/// Everything that decisions depend on, in order.
fn shown(balances: &Balances) -> String {
    let windows: BTreeMap<_, _> = balances.windows().collect();
    let holds: BTreeMap<_, _> = balances.open_holds().collect();
    format!("{windows:?} {holds:?}")
}

/// Appends events, folds them, and writes the rows if `writes_rows`.
fn record(
    engine: &mut PostgresEngine,
    balances: &mut Balances,
    events: Vec<(u128, StreamKind, u64, Event)>,
    writes_rows: bool,
) {
    let draft = draft(engine, events);
    draft.events.iter().for_each(|recorded| balances.fold(recorded).expect("it can be folded"));
    let rows = StateRows { balances, owners: &OwnerBlocks::default() };
    let outcome = engine.append(&draft, writes_rows.then_some(&rows)).expect("appended");
    assert_eq!(outcome, AppendOutcome::Committed);
    if writes_rows {
        balances.rows_are_written();
    }
}

/// The sums leave 64 bits behind.
#[test]
fn the_rows_and_the_fold_after_them_are_the_fold_of_everything() {
    const HUGE: i64 = i64::MAX - 1;
    let test = TestLedger::migrated();
    let (mut engine, mut other) = (test.engine(), test.engine());
    let mut balances = Balances::default();
    let budgets = [window(1), window(2)];
    for number in 1..=4 {
        record(&mut engine, &mut balances, admitted(number, HUGE, &budgets), number == 3);
    }
    record(&mut engine, &mut balances, vec![settled(1, HUGE, HUGE, &budgets), settled(2, HUGE, HUGE, &budgets)], false);
    record(&mut engine, &mut balances, vec![settled(3, HUGE, HUGE, &budgets)], true);
    record(&mut engine, &mut balances, admitted(5, 7, &[window(3)]), false);
    let State { balances: read, head, events_folded, .. } = other.state(now()).expect("the state");
    assert_eq!(shown(&read), shown(&balances));
    assert_eq!((head.position, events_folded), (13, 2));
    assert_eq!(read.amounts(&budgets[0]).settled.nanos(), 3 * i128::from(HUGE));
    assert_eq!(read.open_holds().len(), 2);

    // Others learn from the events of a batch that the rows were written with it.
    let mut third = test.engine();
    third.tip = super::super::read::Tip { first: 0, last: 0, token: engine_genesis(&test) };
    let pages: Vec<_> = std::iter::from_fn(|| {
        let page = third.since(u64::try_from(third.tip.last).expect("a position")).expect("a page");
        (!page.events.is_empty()).then_some((page.events.len(), page.is_checkpoint))
    })
    .collect();
    assert_eq!(pages, [(6, true), (5, true), (2, false)]);
    assert_eq!(third.windows_before(11, &budgets).expect("readable").map(|rows| rows.len()), None);
    assert_eq!(third.windows_before(12, &budgets).expect("readable").map(|rows| rows.len()), Some(2));
    assert_eq!(third.windows_before(1, &[window(9)]).expect("readable").map(|rows| rows.len()), Some(0));
}

fn engine_genesis(test: &TestLedger) -> Uuid {
    let sql = "SELECT token FROM ledger.batches WHERE first = 0";
    test.session().run(async |connection| sqlx::query_scalar(sql).fetch_one(connection).await).expect("the first row")
}

#[test]
fn the_state_of_a_log_that_has_lost_the_tip_is_not_read() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    for number in 1..=2 {
        committed(&mut engine, |engine| one(engine, number));
    }
    test.execute(
        "SET session_replication_role = replica;
         DELETE FROM ledger.events WHERE position = 2; DELETE FROM ledger.batches WHERE first = 2",
    );
    let error = engine.state(now()).err().expect("another log");
    assert!(matches!(error, LogError::Forked { ours: 2, theirs: 1 }), "{error}");
}

//! Appends of commands that need the ledger for themselves, and what nodes that were there all the same do then.

use events::event::Resource;
use events::event::node_key::NodeKeyReplaced;

use super::*;
use crate::engine::postgres::append_alone;
use crate::{Append, Appended, Basis, SideRow, UnusableReason, WrongLedger};

fn replace_node_key(test: &TestLedger, known_until: u64) -> Result<Appended, WrongLedger> {
    let replaced = NodeKeyReplaced { node_key: "new".to_owned(), previous: None, resealed: 0, discarded: 0 };
    let change = Append {
        stream: Stream::new(StreamKind::NodeKey, "new"),
        expected_sequence: 0,
        events: vec![Event::Resource(Resource::NodeKeyReplaced(Box::new(replaced)))],
        context: Context::of(Actor::Operator),
        side: vec![SideRow::WrappedKey { scope: "platform".to_owned(), wrapped: vec![1] }],
        idempotency: None,
        basis: Basis::default(),
    };
    append_alone(&test.database, "command", &ids(), change, known_until)
}

/// The nodes that were there count as gone.
fn forget_nodes(test: &TestLedger) {
    test.execute("UPDATE ledger.running_nodes SET seen_at = 0");
}

/// Holds: bin.reseal-shared
#[test]
fn a_change_alone_is_recorded_while_no_node_runs_and_nothing_else_was() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    let wrong = replace_node_key(&test, 0).expect_err("a node runs").reason;
    assert!(matches!(&wrong, UnusableReason::InUse { node, .. } if node == "node"), "{wrong}");
    forget_nodes(&test);
    let event = one(&engine, 1);
    assert_eq!(engine.append(&event, None).expect("appended"), AppendOutcome::Committed);
    let wrong = replace_node_key(&test, 0).expect_err("there is an event").reason;
    assert!(matches!(wrong, UnusableReason::Changed), "{wrong}");
    assert_eq!(test.number("SELECT count(*) FROM wrapped_keys"), 0);
    let appended = replace_node_key(&test, 1).expect("appended");
    assert_eq!((appended.first, appended.last), (2, 2));
    assert_eq!(test.number("SELECT count(*) FROM wrapped_keys"), 1);
}

/// Holds: bin.reseal-shared
#[test]
fn a_node_that_was_gone_when_the_node_key_was_replaced_appends_nothing_afterwards() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    forget_nodes(&test);
    replace_node_key(&test, 0).expect("appended");
    let outcome = engine.append(&one(&engine, 1), None).expect("an outcome");
    assert_eq!(outcome, AppendOutcome::Moved);
    for _ in 0..2 {
        assert!(matches!(engine.since(0), Err(LogError::NodeKeyReplaced)));
        assert!(matches!(engine.state(now()), Err(LogError::NodeKeyReplaced)));
    }
    // One that starts after it may have the new key.
    let mut started = test.engine();
    let mut next = one(&started, 1);
    next.recorded_at = now();
    assert_eq!(started.append(&next, None).expect("appended"), AppendOutcome::Committed);
}

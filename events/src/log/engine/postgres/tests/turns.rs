//! Turns: who may append while somebody who has lost a race is at it.

use super::*;

#[test]
fn in_the_turn_of_another_nobody_appends_and_the_turn_ends_with_its_append() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    holder.take_turn().expect("a turn");
    let draft = one(&other, 2);
    assert_eq!(other.append(&draft, None).expect("decided"), AppendOutcome::Moved);
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 0);
    committed(&mut holder, |engine| one(engine, 1));
    catch_up(&mut other).expect("readable");
    committed(&mut other, |engine| one(engine, 2));
}

#[test]
fn a_turn_in_which_nothing_was_appended_is_given_up() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    holder.take_turn().expect("a turn");
    assert_eq!(holder.append(&Draft::new(0, at()), None).expect("decided"), AppendOutcome::Committed);
    holder.end_turn();
    committed(&mut other, |engine| one(engine, 1));
}

#[test]
fn a_node_that_hangs_in_its_turn_does_not_stop_the_others() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    holder.take_turn().expect("a turn");
    other.take_turn().expect("it does not wait for ever");
    committed(&mut other, |engine| one(engine, 1));
    other.end_turn();
    committed(&mut other, |engine| one(engine, 2));
    assert_eq!(holder.append(&one(&holder, 3), None).expect("decided"), AppendOutcome::Moved);
}

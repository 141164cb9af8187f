//! Turns: who may append while somebody who has lost a race is at it.

use super::*;
use crate::engine::TurnState;
use crate::engine::postgres::turn::{LOCK, TurnLock};

/// Longer than a node waits for the turn of another.
const WAIT: Duration = Duration::from_secs(6);

#[test]
fn in_the_turn_of_another_nobody_appends() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    for number in 1..=2 {
        catch_up(&mut other).expect("readable");
        assert_eq!(other.append(&one(&other, 9), None).expect("decided"), AppendOutcome::Moved);
        committed(&mut holder, |engine| one(engine, number));
    }
    holder.end_turn();
    catch_up(&mut other).expect("readable");
    // The end is not waited for.
    while other.append(&one(&other, 9), None).expect("decided") == AppendOutcome::Moved {}
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 3);
}

#[test]
fn turns_come_in_the_order_in_which_they_were_asked_for() {
    let test = TestLedger::migrated();
    let [mut holder, mut first, mut second] = [test.engine(), test.engine(), test.engine()];
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                   WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
    for (engine, count) in [&mut first, &mut second].into_iter().zip(1..) {
        engine.ask_for_turn();
        while test.number(waiting) < count {}
    }
    holder.end_turn();
    assert_eq!(first.wait_for_turn(WAIT), TurnState::Held);
    assert_eq!(second.wait_for_turn(Duration::from_millis(50)), TurnState::Awaited);
    first.end_turn();
    assert_eq!(second.wait_for_turn(WAIT), TurnState::Held);
}

#[test]
fn a_turn_that_is_given_up_while_it_is_waited_for_is_nobodys() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    other.ask_for_turn();
    other.end_turn();
    holder.end_turn();
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    holder.end_turn();
    assert_eq!(turn_of(&mut other), TurnState::Held);
    committed(&mut other, |engine| one(engine, 1));
}

#[test]
fn a_turn_is_lost_with_its_connection_and_the_batch_goes_on_without() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    test.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
         WHERE datname = current_database() AND locktype = 'advisory' AND granted",
    );
    assert_eq!(turn_of(&mut other), TurnState::Held);
    committed(&mut holder, |engine| one(engine, 1));
    catch_up(&mut other).expect("readable");
    committed(&mut other, |engine| one(engine, 2));
}

#[test]
fn a_node_that_hangs_in_its_turn_loses_it() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    // The database ends the session in which nothing happens.
    assert_eq!(turn_of(&mut other), TurnState::Held);
    committed(&mut other, |engine| one(engine, 1));
    assert_eq!(holder.append(&one(&holder, 2), None).expect("decided"), AppendOutcome::Moved);
}

#[test]
fn a_turn_that_has_lasted_for_longer_than_its_connection_is_kept_ends_with_it() {
    let test = TestLedger::migrated();
    let (mut holder, mut other) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    std::thread::sleep(Duration::from_millis(1100));
    holder.end_turn();
    assert_eq!(turn_of(&mut other), TurnState::Held);
}

#[test]
fn a_lock_that_nobody_gives_up_does_not_stop_the_nodes() {
    let test = TestLedger::migrated();
    let (mut stranger, mut node) = (test.session(), test.engine());
    let (first, second) = LOCK;
    let lock = format!("SELECT pg_advisory_lock({first}, {second})");
    stranger.run(async |connection| sqlx::query(&lock).execute(connection).await).expect("the lock");
    assert_eq!(turn_of(&mut node), TurnState::NotHeld);
    committed(&mut node, |engine| one(engine, 1));
    committed(&mut node, |engine| one(engine, 2));
}

#[test]
fn a_node_that_cannot_open_the_connection_of_turns_goes_on_without() {
    let test = TestLedger::migrated();
    let (mut holder, mut node) = (test.engine(), test.engine());
    assert_eq!(turn_of(&mut holder), TurnState::Held);
    let no_such_user = test.test.url().replace("//postgres@", "//nobody@").parse().expect("an address");
    node.turns = TurnLock::new(no_such_user);
    assert_eq!(turn_of(&mut node), TurnState::NotHeld);
    assert_eq!(node.append(&one(&node, 1), None).expect("decided"), AppendOutcome::Moved, "it tries once more");
    assert_eq!(turn_of(&mut node), TurnState::NotHeld);
    committed(&mut node, |engine| one(engine, 1));
    assert_eq!(turn_of(&mut node), TurnState::NotHeld);
    committed(&mut node, |engine| one(engine, 2));
}

fn turn_of(engine: &mut PostgresEngine) -> TurnState {
    engine.ask_for_turn();
    engine.wait_for_turn(WAIT)
}

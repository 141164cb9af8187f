//! Reading what others have appended.

use super::*;
use crate::log::engine::postgres::contexts::{KEPT_MAX, NewContexts};

/// The ledger with three batches of four events, each of four requests with their keys, and an engine that has read none.
fn appended() -> (TestLedger, PostgresEngine, Vec<Arc<Recorded>>) {
    let ledger = TestLedger::migrated();
    let (mut writer, reader) = (ledger.engine(), ledger.engine());
    let mut events = Vec::new();
    for first in [1, 5, 9] {
        let of_batch = (first..first + 4).flat_map(|number| admitted(number, 1, &[]).into_iter().take(1)).collect();
        let draft = draft(&writer, of_batch);
        assert_eq!(writer.append(&draft, None).expect("appended"), AppendOutcome::Committed);
        events.extend(draft.events);
    }
    (ledger, reader, events)
}

#[test]
fn events_are_read_as_they_were_written_and_each_context_once() {
    let (ledger, mut reader, events) = appended();
    let mut writer = ledger.engine();
    assert_eq!(catch_up(&mut reader).expect("read"), events);
    assert_eq!(ledger.number("SELECT count(*) FROM ledger.contexts"), 5);
    // It needs none of them a second time, neither to read nor to write.
    ledger.execute("ALTER TABLE ledger.contexts DISABLE TRIGGER USER; DELETE FROM ledger.contexts");
    let mut new = NewContexts::default();
    for event in &events {
        reader.contexts.of(event, &mut new).expect("a name");
    }
    assert!(new.texts.is_empty());
    committed(&mut writer, |engine| one(engine, 16));
    ledger.execute("DELETE FROM ledger.contexts");
    assert_eq!(catch_up(&mut reader).expect("read").len(), 1);
}

#[test]
fn a_page_is_read_also_when_its_contexts_are_more_than_fit_in_memory_beside_others() {
    let (ledger, mut reader, events) = appended();
    let page = reader.since(0).expect("a page");
    assert_eq!(page.events, events);
    // All but one place is taken by contexts of nobody.
    for number in reader.contexts.len()..KEPT_MAX - 1 {
        let chain = Chain { user: Some(Uuid::from_u128(number as u128).into()), ..Chain::default() };
        reader.contexts.note_stored(Uuid::from_u128(number as u128), Context::about(Actor::Operator, chain));
    }
    committed(&mut ledger.engine(), |engine| {
        let with_other_actor = |recorded: &Arc<Recorded>| {
            let mut recorded = Recorded::clone(recorded);
            recorded.context.actor = Actor::System("gateway");
            Arc::new(recorded)
        };
        let mut draft =
            draft(engine, (21..29).flat_map(|number| admitted(number, 1, &[]).into_iter().take(1)).collect());
        draft.events = draft.events.iter().map(with_other_actor).collect();
        draft
    });
    committed(&mut ledger.engine(), |engine| one(engine, 31));
    assert_eq!(catch_up(&mut reader).expect("read").len(), 9);
    // Those of one page may be too many; the next page makes room.
    committed(&mut ledger.engine(), |engine| one(engine, 32));
    assert_eq!(catch_up(&mut reader).expect("read").len(), 1);
    assert!(reader.contexts.len() < 10);
}

/// A replica that is promoted has only the first batch of a page that is read at once.
#[test]
fn a_context_that_a_failover_has_lost_is_stored_again() {
    let ledger = TestLedger::migrated();
    let mut reader = ledger.engine();
    committed(&mut ledger.engine(), |engine| one(engine, 1));
    let mut other = connect(&ledger.database, &OwnNode::serving("other"), ids(), now()).expect("the ledger opens").0;
    committed(&mut other, |engine| one(engine, 2));
    let page = reader.since(0).expect("a page");
    assert_eq!((page.events.len(), page.is_last), (1, false), "the second batch is of another node");
    ledger.execute(
        "SET session_replication_role = replica;
         DELETE FROM ledger.contexts WHERE id = (SELECT context FROM ledger.events WHERE position = 2);
         DELETE FROM ledger.events WHERE position = 2; DELETE FROM ledger.batches WHERE first = 2",
    );
    // With the context of the second batch.
    committed(&mut reader, |engine| one(engine, 2));
    assert_eq!(ledger.number("SELECT count(*) FROM ledger.contexts"), 2);
    let log = open_shared_reader(&ledger.database).expect("a reader");
    assert_eq!(log.after(0, 10).expect("it reads").len(), 2);
}

#[test]
fn the_contexts_of_a_page_that_cannot_be_read_are_not_known() {
    let (ledger, mut reader, _) = appended();
    ledger.execute("SET session_replication_role = replica; DELETE FROM ledger.events WHERE position = 4");
    reader.since(0).expect_err("an event is missing");
    assert_eq!(reader.contexts.len(), 0);
}

#[test]
fn an_event_or_a_context_that_is_missing_is_an_error_and_never_skipped() {
    for (missing, message) in [
        ("DELETE FROM ledger.events WHERE position = 2", "the event at position 2 is missing"),
        ("DELETE FROM ledger.events WHERE position = 4", "the event at position 4 is missing"),
        ("DELETE FROM ledger.events WHERE position = 12", "the event at position 12 is missing"),
        ("DELETE FROM ledger.contexts", "there is no context"),
    ] {
        let (ledger, mut reader, _) = appended();
        ledger.execute(&format!(
            "ALTER TABLE ledger.events DISABLE TRIGGER USER; ALTER TABLE ledger.contexts DISABLE TRIGGER USER; {missing}"
        ));
        let error = catch_up(&mut reader).expect_err(missing).to_string();
        assert!(error.contains(message), "{missing}: {error}");
        assert_eq!(reader.tip.last, 0, "{missing}: nothing of the page counts");
    }
}

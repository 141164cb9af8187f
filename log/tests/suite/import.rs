//! A ledger that is built anew from its events is whole in one file, or it is not built, and says which event is why.

use std::path::Path;

use events::event::access::AccessDenied;
use events::event::hold::BudgetReleased;
use events::event::{Access, Actor, Context, Event, Hold, Recorded, Stream, StreamKind};
use events::ids::RequestId;
use events::money::NanoUsd;
use events::private::beside;
use events::refusal::ErrorCode;
use events_log::{LEDGER_FILE, LedgerImport, Log, LogOptions, Note, open_reader};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::facts::{clock, id};

/// The events of another ledger.
async fn recorded(events: u64) -> Vec<Recorded> {
    let folder = TempDir::new().expect("a folder");
    let log = Log::open(folder.path(), LogOptions::new(clock()).with_any_clock()).expect("the log opens");
    for count in 1..=events {
        let denied = AccessDenied { code: ErrorCode::Unauthenticated, count };
        let event = Event::Access(Access::Denied(Box::new(denied)));
        let stream = Stream::new(StreamKind::Access, "anonymous");
        log.note(vec![Note { stream, context: Context::of(Actor::System("gateway")), event }]).await.expect("noted");
    }
    log.close();
    let reader = open_reader(&folder.path().join(LEDGER_FILE)).expect("the ledger opens");
    reader.after(0, usize::try_from(events).expect("few")).expect("the events")
}

fn begin(folder: &Path) -> LedgerImport {
    LedgerImport::begin(folder, 0).expect("a ledger begins")
}

#[tokio::test]
async fn a_ledger_that_was_built_is_whole_in_its_file_alone() {
    let (events, folder) = (recorded(5).await, TempDir::new().expect("a folder"));
    let mut import = begin(folder.path());
    import.append(events).expect("they follow");
    import.finish(Vec::new()).expect("it is finished");
    let ledger = folder.path().join(LEDGER_FILE);
    assert!(!beside(&ledger, "-wal").exists());
    assert_eq!(open_reader(&ledger).expect("it opens").head().expect("a head").position, 5);
}

/// Its file is moved without what is beside it.
#[tokio::test]
async fn a_ledger_of_which_part_is_beside_its_file_is_not_finished() {
    let (events, folder) = (recorded(5).await, TempDir::new().expect("a folder"));
    let mut import = begin(folder.path());
    let (first, rest) = events.split_at(2);
    import.append(first.to_vec()).expect("they follow");
    let reader = Connection::open(folder.path().join(LEDGER_FILE)).expect("another connection");
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM events").expect("it reads");
    import.append(rest.to_vec()).expect("they follow");
    let error = import.finish(Vec::new()).expect_err("the reader keeps pages in the write-ahead log").to_string();
    assert!(error.contains("somebody reads"), "{error}");
}

#[tokio::test]
async fn an_event_that_contradicts_others_is_named_by_its_own_position() {
    let recorded = recorded(5).await;
    let twice = |events: &mut Vec<Recorded>| events[3].sequence = events[1].sequence;
    let unknown_hold = |events: &mut Vec<Recorded>| {
        let released = BudgetReleased {
            held_usd: NanoUsd::new(1),
            budgets: Vec::new(),
            reason: "test".to_owned(),
            brokered: None,
        };
        events[3].stream = Stream::new(StreamKind::Hold, id::<RequestId>(1));
        events[3].event = Event::Hold(Hold::Released(Box::new(released)));
    };
    for change in [&twice as &dyn Fn(&mut Vec<Recorded>), &unknown_hold] {
        let (mut events, folder) = (recorded.clone(), TempDir::new().expect("a folder"));
        change(&mut events);
        let mut import = begin(folder.path());
        let error = import.append(events).expect_err("it contradicts another");
        assert_eq!(error.position, 4, "{error}");
    }
}

use std::sync::Arc;

use events::event::admin::Partner;
use events::event::{Actor, Change, Context, Event, StreamKind};
use events::ids::PartnerId;
use events::time::SystemClock;
use rusqlite::StatementStatus;
use tempfile::TempDir;

use super::*;
use crate::{Append, Basis, Log, LogOptions};

fn partner(name: &str) -> Partner {
    Partner::new(PartnerId::from(uuid::Uuid::from_u128(1)), name)
}

async fn append(log: &Log, stream: &Stream, expected_sequence: u64, events: Vec<Event>) {
    let context = Context::of(Actor::Operator);
    let stream = stream.clone();
    let (side, idempotency, basis) = (Vec::new(), None, Basis::default());
    let append = Append { stream, expected_sequence, events, context, side, idempotency, basis };
    log.append(append).await.map(|_| ()).map_err(|_| "refused").expect("appended");
}

/// The steps of SQLite's virtual machine for reading one resource.
fn steps(reader: &SqliteReader, of: &Stream) -> i32 {
    let mut statement = reader.connection.prepare(SELECT_LAST_OF_TYPE).expect("a statement");
    for name in Resource::names_on(of.kind) {
        let mut rows = statement.query(params![of.id, of.kind.as_str(), name, i64::MAX]).expect("rows");
        let _ = rows.next().expect("a row or none");
    }
    statement.get_status(StatementStatus::VmStep)
}

#[tokio::test]
async fn a_resource_that_was_changed_five_thousand_times_is_read_as_fast_as_a_new_one() {
    let folder = TempDir::new().expect("a folder");
    let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::default()))).expect("a log");
    let stream = Stream::new(StreamKind::Partner, partner("").partner_id);
    append(&log, &stream, 0, vec![Change::created(partner("0")).into(), Change::changed(partner("1")).into()]).await;
    let ledger = folder.path().join("ledger.db");
    let reader = SqliteReader::new(super::super::offline::with_locks(&ledger).expect("a reader"));
    let at_first = steps(&reader, &stream);
    let changes = (2..5_000).map(|number| Change::changed(partner(&number.to_string())).into());
    append(&log, &stream, 2, changes.collect()).await;
    assert!(steps(&reader, &stream) <= at_first + 10, "{} steps, {at_first} at first", steps(&reader, &stream));
    let last = reader.last_of_each_type(&stream, None).expect("its last events");
    let sequences: Vec<u64> = last.iter().map(|recorded| recorded.sequence).collect();
    assert_eq!(sequences, [1, 5_000]);
}

#[tokio::test]
async fn a_resource_is_read_as_it_was_at_one_of_its_events() {
    let folder = TempDir::new().expect("a folder");
    let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::default()))).expect("a log");
    let stream = Stream::new(StreamKind::Partner, partner("").partner_id);
    let ended = Event::from(Change::<Partner>::Ended(partner("").partner_id));
    let changes = ["b", "c", "d"].map(|name| Change::changed(partner(name)).into());
    let events = [Change::created(partner("a")).into()].into_iter().chain(changes).chain([ended]).collect();
    append(&log, &stream, 0, events).await;
    let reader = log.reader().expect("a reader");
    let read = |position| {
        let last = reader.last_of_each_type(&stream, position).expect("its last events");
        last.iter().map(|recorded| recorded.sequence).collect::<Vec<_>>()
    };
    assert_eq!((read(Some(1)), read(Some(3)), read(Some(5))), (vec![1], vec![1, 3], vec![1, 4, 5]));
    assert_eq!(read(None), [1, 4, 5]);
}

//! Rows depend on the facts alone: not on how they are cut into batches, nor on repeated delivery.

mod compared;
pub mod facts;
mod following;
mod past;
pub mod plan;
mod replayed;
mod rows;
mod snapshots;
mod sql_views;
mod touched;

use std::path::Path;
use std::sync::Arc;

use events::event::{Change, Event, Recorded, Resource};
use events_log::{LEDGER_FILE, open_reader};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::audit::projector::Audit;
use super::compare::{CompareError, compare};
use super::follow::{RowsBehind, prepare_swap};
use super::projector::{ProjectionError, Projector};
use super::rebuild::must_not_regress;
use super::store::{Compatibility, NEXT_FILE, Store, StoreError, VIEWS_FILE};
use super::summary::summarize;
use super::{View, store};
use facts::Story;

fn all_projectors() -> Vec<Box<dyn Projector>> {
    View::projectors(View::ALL)
}

fn open(dir: &Path, projectors: Vec<Box<dyn Projector>>) -> Store {
    Store::open(dir, projectors, |_| Ok(true)).expect("the views' file opens")
}

/// Views of these facts, applied `batch` at a time.
fn views_of(facts: &[Arc<Recorded>], batch: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), all_projectors());
    for events in facts.chunks(batch) {
        store.apply(events).expect("a batch is applied");
    }
    dir
}

/// The rows of a query as text, sorted.
fn rows(dir: &Path, query: &str) -> Vec<String> {
    let connection = Connection::open(dir.join(VIEWS_FILE)).expect("the views' file opens");
    let mut statement = connection.prepare(query).expect("a query");
    let columns = statement.column_count();
    let texts = statement.query_map([], |row| {
        let cells: Result<Vec<String>, _> = (0..columns).map(|column| row.get_ref(column).map(text)).collect();
        cells.map(|cells| cells.join("|"))
    });
    let mut rows: Vec<String> = texts.expect("rows").map(|row| row.expect("a row")).collect();
    rows.sort();
    rows
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("{bytes:02x?}"),
        ValueRef::Real(_) => unreachable!("no view has such columns"),
    }
}

/// All rows of all tables.
fn dump(dir: &Path) -> Vec<String> {
    let tables = rows(dir, "SELECT name FROM sqlite_master WHERE type = 'table'");
    let dumped = tables.iter().flat_map(|table| {
        let rows = rows(dir, &format!("SELECT * FROM {table}"));
        rows.into_iter().map(move |row| format!("{table}: {row}"))
    });
    dumped.collect()
}

#[test]
fn rows_do_not_depend_on_how_the_log_is_cut_into_batches() {
    let facts = Story::whole();
    let expected = dump(views_of(&facts, facts.len()).path());
    assert!(expected.len() > 30, "only {} rows", expected.len());
    for batch in [1, 2, 3, 5, 7, 11] {
        assert_eq!(dump(views_of(&facts, batch).path()), expected, "{batch} at a time");
    }
}

#[test]
fn events_that_are_delivered_again_change_nothing() {
    let facts = Story::whole();
    let dir = views_of(&facts, 4);
    let expected = dump(dir.path());
    let mut store = open(dir.path(), all_projectors());
    store.apply(&facts).expect("a batch is applied");
    for events in facts.windows(3) {
        store.apply(events).expect("a batch is applied");
    }
    drop(store);
    assert_eq!(dump(dir.path()), expected);
}

/// A projector that fails on revoked keys.
struct FailsOnRevokedKeys;

impl Projector for FailsOnRevokedKeys {
    fn view(&self) -> View {
        View::Audit
    }

    fn version(&self) -> u32 {
        1
    }

    fn schema(&self) -> &'static str {
        "CREATE TABLE seen (position INTEGER PRIMARY KEY) STRICT"
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            db.execute("INSERT INTO seen (position) VALUES (?1)", [recorded.position])?;
            if matches!(recorded.event, Event::Resource(Resource::Key(Change::Ended(_)))) {
                return Err(ProjectionError::Overflow);
            }
        }
        Ok(())
    }
}

#[test]
fn a_poison_event_stops_its_view_alone_just_before_it() {
    let facts = Story::whole();
    let revoked =
        facts.iter().find(|recorded| matches!(recorded.event, Event::Resource(Resource::Key(Change::Ended(_)))));
    let poison = revoked.expect("a revoked key").position;
    for batch in [1, 4, facts.len()] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path(), vec![Box::new(FailsOnRevokedKeys), View::Catalogue.projector()]);
        for events in facts.chunks(batch) {
            store.apply(events).expect("the batch is not lost");
        }
        let stopped = store.checkpoint(View::Audit).expect("a checkpoint");
        assert_eq!(stopped.position, poison - 1);
        assert!(stopped.error.is_some_and(|error| error.contains("key.revoked.v1")));
        let other = store.checkpoint(View::Catalogue).expect("a checkpoint");
        assert_eq!((other.position, other.error), (facts.last().expect("facts").position, None));
        let seen = rows(dir.path(), "SELECT max(position) FROM seen");
        assert_eq!(seen, [(poison - 1).to_string()], "nothing of the poison event is kept");
    }
}

/// The projector of the audit in a later version.
struct Newer {
    schema: &'static str,
}

impl Projector for Newer {
    fn view(&self) -> View {
        View::Audit
    }

    fn version(&self) -> u32 {
        99
    }

    fn schema(&self) -> &'static str {
        self.schema
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            db.execute("INSERT INTO rows_audit (position) VALUES (?1)", [recorded.position])?;
        }
        Ok(())
    }
}

#[test]
fn a_file_of_another_log_is_recreated() {
    let dir = views_of(&Story::whole(), 100);
    let foreign = Store::open(dir.path(), all_projectors(), |_| Ok(false)).expect("the views' file opens");
    assert_eq!(foreign.checkpoint(View::Budgets).expect("a checkpoint").position, 0);
}

#[test]
fn a_file_is_left_as_it_is_while_the_log_cannot_be_read() {
    let facts = Story::whole();
    let dir = compared::folder_of(&facts);
    open(dir.path(), all_projectors()).apply(&facts).expect("a batch is applied");
    let before = dump(dir.path());
    let ledger = Connection::open(dir.path().join(LEDGER_FILE)).expect("the ledger opens");
    let reader = open_reader(&dir.path().join(LEDGER_FILE)).expect("the ledger opens");
    ledger.execute_batch("ALTER TABLE events RENAME TO away").expect("the events are away");
    let opened = Store::of_log(dir.path(), &*reader);
    assert!(matches!(opened, Err(StoreError::Log(_))), "{:?}", opened.err());
    let compared = compare(dir.path(), &*reader, &mut |_, _| {});
    assert!(matches!(compared, Err(CompareError::Log(_))), "{compared:?}");
    assert_eq!(dump(dir.path()), before);
    ledger.execute_batch("ALTER TABLE away RENAME TO events").expect("the events are back");
    let again = Store::of_log(dir.path(), &*reader).expect("the views open");
    assert_eq!(again.checkpoint(View::Budgets).expect("a checkpoint").position, facts.len() as u64);
}

#[test]
fn a_view_of_another_version_keeps_its_rows_until_new_ones_take_their_place() {
    const SCHEMA: &str = "CREATE TABLE rows_audit (position INTEGER PRIMARY KEY, more TEXT) STRICT";
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let (last, older) = (facts.last().expect("facts").position, rows(dir.path(), "SELECT * FROM rows_audit"));
    let with_newer = || -> Vec<Box<dyn Projector>> {
        let others = all_projectors().into_iter().filter(|projector| projector.view() != View::Audit);
        others.chain([Box::new(Newer { schema: SCHEMA }) as Box<dyn Projector>]).collect()
    };
    let mut store = open(dir.path(), with_newer());
    assert_eq!(store.compatibility(View::Audit), Compatibility::Unreadable);
    assert_eq!(store.compatibility(View::Budgets), Compatibility::Current);
    // Its old rows no longer follow the log; those of all other views do.
    store.apply(&Story::beyond(&facts)).expect("a batch is applied");
    assert_eq!(rows(dir.path(), "SELECT * FROM rows_audit"), older);
    let checkpoint = store.checkpoint(View::Audit).expect("a checkpoint");
    assert_eq!((checkpoint.version, checkpoint.position), (Audit.version(), last));
    assert_eq!(store.checkpoint(View::Budgets).expect("a checkpoint").position, last + 1);
    let mut next = Store::create_next(dir.path(), vec![Box::new(Newer { schema: SCHEMA })]).expect("a file beside");
    next.apply(&facts).expect("a batch is applied");
    next.apply(&Story::beyond(&facts)).expect("a batch is applied");
    store.swap_in(next).expect("new rows");
    let checkpoint = store.checkpoint(View::Audit).expect("a checkpoint");
    assert_eq!((checkpoint.version, checkpoint.position), (99, last + 1));
    assert_eq!(rows(dir.path(), "SELECT count(*), max(more) FROM rows_audit"), [format!("{}|-", facts.len() + 1)]);
    assert!(!dir.path().join(NEXT_FILE).exists());
}

#[test]
fn rebuilt_views_have_the_same_rows() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let expected = dump(dir.path());
    let mut store = open(dir.path(), all_projectors());
    store
        .connection
        .execute_batch("DELETE FROM rows_audit; DELETE FROM rows_inferences; DELETE FROM rows_usage_latency")
        .expect("gone");
    let mut next = Store::create_next(dir.path(), all_projectors()).expect("a file beside");
    facts.chunks(5).for_each(|events| next.apply(events).expect("a batch is applied"));
    store.swap_in(next).expect("new rows");
    assert_eq!(dump(dir.path()), expected);
    // The indexes exist as well, and the file is sound.
    assert_eq!(rows(dir.path(), "PRAGMA integrity_check"), ["ok"]);
    drop(store);
    let again = open(dir.path(), all_projectors());
    assert!(again.views().into_iter().all(|view| again.compatibility(view) == Compatibility::Current));
}

#[test]
fn new_rows_are_brought_up_to_date_and_never_move_a_view_back() {
    let facts = Story::whole();
    let dir = compared::folder_of(&facts);
    let mut store = open(dir.path(), all_projectors());
    store.apply(&facts).expect("a batch is applied");
    let expected = dump(dir.path());
    let mut next = Store::create_next(dir.path(), all_projectors()).expect("a file beside");
    next.apply(&facts[..7]).expect("a batch is applied");
    let back = must_not_regress(&next, &store).expect_err("it is behind");
    assert_eq!(back, "budgets would go back to position 7");
    let reader = open_reader(&dir.path().join(LEDGER_FILE)).expect("the log opens");
    let last = facts.last().expect("facts").position;
    prepare_swap(&mut next, &store, &*reader, RowsBehind { at: 7, until: last })
        .expect("the log reads")
        .expect("it is as far");
    store.swap_in(next).expect("new rows");
    assert_eq!(dump(dir.path()), expected);
}

#[test]
fn new_rows_that_cannot_be_written_leave_the_old_ones_unchanged() {
    let facts = Story::whole();
    let dir = compared::folder_of(&facts);
    let mut store = open(dir.path(), all_projectors());
    store.apply(&facts).expect("a batch is applied");
    let expected = dump(dir.path());
    let (reader, last) = (open_reader(&dir.path().join(LEDGER_FILE)), facts.last().expect("facts").position);
    let reader = reader.expect("the log opens");
    let read_only = |_: &Path, next: &Store| next.connection.execute_batch("PRAGMA query_only = 1").expect("a pragma");
    let damage = |next: &Path, _: &Store| std::fs::write(next, vec![b'x'; 8192]).expect("damage");
    for (damage, reason) in [(read_only as fn(&Path, &Store), "readonly"), (damage, "not a database")] {
        let mut next = Store::create_next(dir.path(), all_projectors()).expect("a file beside");
        next.apply(&facts[..7]).expect("a batch is applied");
        damage(&dir.path().join(NEXT_FILE), &next);
        let why = prepare_swap(&mut next, &store, &*reader, RowsBehind { at: 7, until: last })
            .expect("the log reads")
            .expect_err("they are unfit");
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!(dump(dir.path()), expected);
}

#[test]
fn new_rows_replace_a_stopped_view_unless_they_stopped_before_it() {
    let facts = Story::whole();
    let dir = tempfile::tempdir().expect("a folder");
    let mut used = open(dir.path(), vec![Box::new(FailsOnRevokedKeys)]);
    used.apply(&facts).expect("the batch is not lost");
    let stopped = used.checkpoint(View::Audit).expect("a checkpoint");
    assert!(stopped.error.is_some());
    let made_of = |facts: &[Arc<Recorded>]| {
        let mut next = Store::create_next(dir.path(), vec![Box::new(FailsOnRevokedKeys)]).expect("a file beside");
        next.apply(facts).expect("the batch is not lost");
        next
    };
    let back = must_not_regress(&made_of(&facts[..3]), &used).expect_err("it is behind");
    assert_eq!(back, "audit would go back to position 3");
    must_not_regress(&made_of(&facts), &used).expect("it stopped at the same event");
}

#[test]
fn the_file_of_an_unfinished_rebuild_is_deleted() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let expected = dump(dir.path());
    let mut next = Store::create_next(dir.path(), all_projectors()).expect("a file beside");
    next.apply(&facts[..7]).expect("a batch is applied");
    std::mem::forget(next);
    drop(open(dir.path(), all_projectors()));
    assert!(!dir.path().join(NEXT_FILE).exists());
    assert_eq!(dump(dir.path()), expected);
}

#[test]
fn readers_of_the_old_rows_keep_them_until_their_transaction_ends() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let mut store = open(dir.path(), all_projectors());
    store.connection.execute_batch("UPDATE rows_audit SET actor = 'of the old rows'").expect("a change");
    let reader = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views' file opens");
    let old = |reader: &Connection| {
        let sql = "SELECT count(*) FROM rows_audit WHERE actor = 'of the old rows'";
        reader.query_row(sql, [], |row| row.get::<_, u32>(0)).expect("a number")
    };
    reader.execute_batch("BEGIN").expect("a transaction");
    let before = old(&reader);
    let mut next = Store::create_next(dir.path(), vec![View::Audit.projector()]).expect("a file beside");
    next.apply(&facts).expect("a batch is applied");
    store.swap_in(next).expect("new rows");
    assert!(before > 0 && old(&reader) == before);
    reader.execute_batch("COMMIT").expect("its end");
    assert_eq!(old(&reader), 0);
}

#[test]
fn a_damaged_file_is_recreated() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(store::VIEWS_FILE), vec![b'x'; 8192]).expect("a file");
    let store = open(dir.path(), all_projectors());
    assert_eq!(store.checkpoint(View::Budgets).expect("a checkpoint").position, 0);
}

#[test]
fn a_view_that_lacks_a_table_is_unreadable_one_that_lacks_an_index_is_rebuilt_and_further_indexes_are_ignored() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let change = |sql: &str| {
        let file = Connection::open(dir.path().join(store::VIEWS_FILE)).expect("the views' file opens");
        file.execute_batch(sql).expect("a change");
    };
    let compatibility = |view| open(dir.path(), all_projectors()).compatibility(view);
    change("CREATE INDEX an_analysts_own ON rows_audit (actor)");
    assert_eq!(compatibility(View::Audit), Compatibility::Current);
    change("DROP INDEX inferences_by_key");
    assert_eq!(compatibility(View::Inferences), Compatibility::Older);
    change("DROP TABLE rows_inferences");
    assert_eq!(
        (compatibility(View::Inferences), compatibility(View::Audit)),
        (Compatibility::Unreadable, Compatibility::Current)
    );
    change("UPDATE rows_projections SET version = 0 WHERE name = 'audit'");
    assert_eq!(compatibility(View::Audit), Compatibility::Older);
    change("DROP TABLE rows_projections");
    let recreated = open(dir.path(), all_projectors());
    assert_eq!(recreated.checkpoint(View::Audit).expect("a checkpoint").position, 0);
}

#[test]
fn a_recreated_store_has_no_rows_and_applies_the_log_again() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let expected = dump(dir.path());
    let mut store = open(dir.path(), all_projectors());
    store.recreate().expect("a new file");
    assert_eq!(store.checkpoint(View::Inferences).expect("a checkpoint").position, 0);
    store.apply(&facts).expect("a batch is applied");
    drop(store);
    assert_eq!(dump(dir.path()), expected);
}

#[test]
fn a_summary_of_views_of_another_version_has_their_positions_and_no_spending() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let summary = || summarize(dir.path(), 0, 5, &[]).expect("the views are read").expect("there are views");
    assert!(summary().spent.is_some_and(|spent| !spent.is_empty()));
    let change = |sql: &str| {
        let file = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views' file opens");
        file.execute_batch(sql).expect("a change");
    };
    change("UPDATE rows_projections SET version = 0 WHERE name = 'budgets'");
    assert!(summary().spent.is_some(), "spending is not read from that view");
    for view in ["usage_by_hour", "catalogue"] {
        change(&format!("UPDATE rows_projections SET version = version + 1 WHERE name = '{view}'"));
        let seen = summary();
        assert_eq!((seen.spent, seen.views.len()), (None, View::ALL.len()), "{view}");
        assert!(seen.views.iter().all(|seen| seen.checkpoint.is_some()));
        change(&format!("UPDATE rows_projections SET version = version - 1 WHERE name = '{view}'"));
    }
    change(
        "UPDATE rows_projections SET version = 0; DROP VIEW usage_by_hour; ALTER TABLE rows_usage_by_hour DROP COLUMN cost_nanos",
    );
    assert_eq!(summary().spent, None);
}

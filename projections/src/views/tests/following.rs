//! The views' thread with a real log.

use std::path::Path;
use std::slice;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use events::concurrency::{ConcurrencyLimiter, QueryPermit, Requester};
use events::event::admin::Partner;
use events::event::{Actor, Chain, Change, Context, Event, Recorded, Stream, StreamKind};
use events::ids::PartnerId;
use events::log::{Append, Basis, Log, LogOptions};
use events::time::SystemClock;
use rusqlite::Connection;

use super::facts::id;
use super::{all_projectors, dump, rows};
use crate::views::{
    ProjectionError, Projector, Question, Rebuild, RebuildState, VIEWS_FILE, View, ViewsError, ViewsHandle,
    ViewsThread, start, start_with,
};

fn open_log(dir: &Path) -> Log {
    Log::open(dir, LogOptions::new(Arc::new(SystemClock::new()))).expect("the log opens")
}

async fn make_partner(log: &Log, number: u128) -> u64 {
    let partner: PartnerId = id(number);
    let made = Partner::new(partner, format!("p{number}"));
    let append = Append {
        stream: Stream::new(StreamKind::Partner, partner),
        expected_sequence: 0,
        events: vec![Event::from(Change::created(made))],
        context: Context::about(Actor::Operator, Chain { partner: Some(partner), ..Chain::default() }),
        side: vec![],
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("appended").last
}

async fn stop(thread: ViewsThread, log: Log) {
    tokio::task::spawn_blocking(move || {
        thread.stop();
        log.close();
    })
    .await
    .expect("stopped");
}

/// A number that one view is asked for.
struct Count {
    view: View,
    sql: &'static str,
}

impl Question for Count {
    type Answer = u64;
    const VIEWS: &'static [View] = View::ALL;

    fn views(&self) -> &'static [View] {
        View::ALL.iter().find(|view| **view == self.view).map_or(&[], slice::from_ref)
    }

    fn answer(self, db: &Connection) -> Result<u64, ViewsError> {
        Ok(db.query_row(self.sql, [], |row| row.get(0))?)
    }
}

async fn permit() -> QueryPermit {
    ConcurrencyLimiter::default().admit_query(Requester::Operator).await.expect("a permit")
}

async fn partners(views: &ViewsHandle, position: u64) -> (u64, u64) {
    views.wait_for(View::Catalogue, position).await.expect("the view gets there");
    let permit = permit().await;
    let read = views.ask(&permit, Count { view: View::Catalogue, sql: "SELECT count(*) FROM rows_catalogue" });
    let read = read.await.expect("read");
    (read.position, read.value)
}

/// Holds: admin.read-your-writes
#[tokio::test]
async fn a_reader_who_waits_sees_what_was_written_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    for number in 1..=30 {
        let position = make_partner(&log, number).await;
        assert_eq!(partners(&views, position).await, (position, position));
    }
    let began = std::time::Instant::now();
    let behind = views.wait_for(View::Budgets, 1000).await.expect_err("nothing is there yet");
    assert_eq!((behind.position, behind.wanted), (30, 1000));
    assert!(began.elapsed() >= crate::views::VIEW_WAIT_MAX, "waited for {:?}", began.elapsed());
    let status = views.status();
    assert!(status.iter().all(|view| view.position == 30 && view.lag_events == 0 && !view.rebuilding), "{status:?}");
    stop(thread, log).await;
}

/// Holds: event.views-disposable
#[tokio::test]
async fn views_that_were_thrown_away_come_out_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    for number in 1..=10 {
        make_partner(&log, number).await;
    }
    partners(&views, 10).await;
    thread.stop();
    let before = dump(dir.path());
    for name in ["views.db", "views.db-wal", "views.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    partners(&views, 10).await;
    thread.stop();
    assert_eq!(dump(dir.path()), before);
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    make_partner(&log, 11).await;
    assert_eq!(partners(&views, 11).await, (11, 11));
    assert_eq!(rows(dir.path(), "SELECT max(position) FROM rows_projections"), ["11"]);
    stop(thread, log).await;
}

/// Holds: query.whole-views
#[tokio::test]
async fn a_view_answers_once_it_has_what_was_recorded_before_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let clock = || Arc::new(SystemClock::new());
    let count_partners = "SELECT count(*) FROM rows_catalogue";
    let mut made = 0;
    // Without a file, and with one that lacks the newest events.
    for _ in 0..2 {
        for _ in 0..10 {
            made += 1;
            make_partner(&log, made).await;
        }
        let (projectors, gate) = gated(View::Budgets);
        let (views, thread) = start_with(&log, dir.path(), clock(), None, projectors).expect("the views start");
        let early = count(&views, View::Catalogue, count_partners).await;
        assert!(matches!(early, Err(ViewsError::Rebuilding(View::Catalogue))), "{early:?}");
        assert!(views.status().iter().all(|view| view.rebuilding), "{:?}", views.status());
        let behind = views.wait_for(View::Catalogue, 0).await.expect_err("the gate is closed");
        assert_eq!(u128::from(behind.wanted), made);
        drop(gate);
        views.wait_for(View::Catalogue, 0).await.expect("the view gets there");
        assert_eq!(count(&views, View::Catalogue, count_partners).await.ok().map(u128::from), Some(made));
        assert!(views.status().iter().all(|view| !view.rebuilding), "{:?}", views.status());
        thread.stop();
    }
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
}

#[tokio::test]
async fn the_tables_follow_what_administration_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    make_partner(&log, 1).await;
    let (tables, tables_task) = crate::tables::start(&log).await.expect("the tables start");
    assert!(tables.load().partner(id(1)).is_some());
    let position = make_partner(&log, 2).await;
    assert!(tables.wait_for(position, crate::views::VIEW_WAIT_MAX).await);
    assert!(tables.load().partner(id(2)).is_some());
    assert!(tables.wait_for(position + 1, Duration::ZERO).await, "nothing later concerns them");
    tables_task.stop().await;
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
}

const OLD_AUDIT: &str = "SELECT count(*) FROM rows_audit WHERE actor = 'old'";

async fn count(views: &ViewsHandle, view: View, query: &'static str) -> Result<u64, ViewsError> {
    views.ask(&permit().await, Count { view, sql: query }).await.map(|read| read.value)
}

/// A projector that applies nothing until its gate opens, when the sender is dropped.
struct Gated {
    inner: Box<dyn Projector>,
    gate: mpsc::Receiver<()>,
}

impl Projector for Gated {
    fn view(&self) -> View {
        self.inner.view()
    }

    fn version(&self) -> u32 {
        self.inner.version()
    }

    fn schema(&self) -> &'static str {
        self.inner.schema()
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        // Nothing is ever sent: this waits for the sender to be dropped.
        let _ = self.gate.recv_timeout(Duration::from_secs(30));
        self.inner.apply(db, events)
    }
}

/// The projectors of all views, one of which waits for the gate.
fn gated(view: View) -> (Vec<Box<dyn Projector>>, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let (mut all, at) = (all_projectors(), View::ALL.iter().position(|other| *other == view).expect("a view"));
    let inner = all.remove(at);
    all.insert(at, Box::new(Gated { inner, gate }));
    (all, open)
}

fn rebuild_of(views: &ViewsHandle, view: View) -> Option<Rebuild> {
    views.status().into_iter().find(|status| status.name == view.as_str()).and_then(|status| status.rebuild)
}

async fn rebuilt(views: &ViewsHandle, view: View) -> Rebuild {
    for _ in 0..1000 {
        match rebuild_of(views, view) {
            Some(rebuild) if !rebuild.is_running() => return rebuild,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("the rebuild does not end: {:?}", views.status());
}

/// Holds: bin.rebuild
#[tokio::test]
async fn a_view_is_rebuilt_while_it_follows_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    for number in 1..=10 {
        make_partner(&log, number).await;
    }
    partners(&views, 10).await;
    // While another connection holds the write lock, new rows cannot replace the old ones, which are marked.
    let held = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views");
    held.execute_batch("UPDATE rows_audit SET actor = 'old'; BEGIN IMMEDIATE").expect("the lock");
    let first = views.rebuild(View::Audit).expect("it begins");
    let second = views.rebuild(View::Audit).expect("it is answered");
    assert_eq!(first.started_at, second.started_at, "one rebuild at a time");
    assert_eq!(count(&views, View::Audit, OLD_AUDIT).await.expect("the old rows"), 10);
    assert!(
        rebuild_of(&views, View::Audit).is_some_and(|rebuild| rebuild.is_running()),
        "it was over when it was read"
    );
    held.execute_batch("ROLLBACK").expect("the lock is given back");
    for number in 11..=40 {
        let position = make_partner(&log, number).await;
        assert_eq!(partners(&views, position).await, (position, position));
    }
    let ended = rebuilt(&views, View::Audit).await;
    assert_eq!((ended.state, ended.error, ended.percent), (RebuildState::Done, None, 100));
    views.wait_for(View::Audit, 40).await.expect("it is there");
    assert_eq!(rows(dir.path(), "SELECT count(*), max(position) FROM rows_audit"), ["40|40"]);
    assert_eq!(rows(dir.path(), OLD_AUDIT), ["0"]);
    assert!(views.status().iter().all(|view| !view.rebuilding && view.lag_events == 0));
    stop(thread, log).await;
}

#[tokio::test]
async fn views_of_another_version_answer_from_their_old_rows_until_they_are_rebuilt() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let clock = || Arc::new(SystemClock::new());
    let (views, thread) = start(&log, dir.path(), clock()).expect("the views start");
    for number in 1..=10 {
        make_partner(&log, number).await;
    }
    partners(&views, 10).await;
    thread.stop();
    let expected = dump(dir.path());
    let file = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views");
    // The budgets have to read the log again. Until they have, no new rows are swapped in.
    file.execute_batch(
        "UPDATE rows_projections SET version = 0 WHERE name <> 'budgets';
         UPDATE rows_projections SET position = 0, recorded_at = 0 WHERE name = 'budgets';
         UPDATE rows_catalogue SET name = 'old'; DROP TABLE rows_audit",
    )
    .expect("another version");
    drop(file);
    let (projectors, gate) = gated(View::Budgets);
    let (views, thread) = start_with(&log, dir.path(), clock(), None, projectors).expect("the views start");
    let old = count(&views, View::Catalogue, "SELECT count(*) FROM rows_catalogue WHERE name = 'old'").await;
    assert_eq!(old.expect("the old rows"), 10);
    let none = count(&views, View::Audit, OLD_AUDIT).await;
    assert!(matches!(none, Err(ViewsError::Rebuilding(View::Audit))), "{none:?}");
    assert!(views.status().iter().all(|view| view.rebuilding), "it was over when it was read: {:?}", views.status());
    drop(gate);
    let ended = rebuilt(&views, View::Catalogue).await;
    assert_eq!((ended.state, ended.error), (RebuildState::Done, None));
    views.wait_for(View::Audit, 10).await.expect("it is there");
    thread.stop();
    assert_eq!(dump(dir.path()), expected);
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
}

#[tokio::test]
async fn a_view_without_readable_rows_says_that_it_is_being_rebuilt_and_the_others_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let clock = || Arc::new(SystemClock::new());
    make_partner(&log, 1).await;
    let (views, thread) = start(&log, dir.path(), clock()).expect("the views start");
    partners(&views, 1).await;
    thread.stop();
    let file = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views");
    // The budgets have to read the log again. Until they have, no new rows are swapped in.
    file.execute_batch(
        "UPDATE rows_projections SET position = 0, recorded_at = 0 WHERE name = 'budgets'; DROP TABLE rows_audit",
    )
    .expect("another version");
    drop(file);
    let (projectors, gate) = gated(View::Budgets);
    let (views, thread) = start_with(&log, dir.path(), clock(), None, projectors).expect("the views start");
    let permit = permit().await;
    for view in View::ALL {
        let read = views.ask(&permit, Count { view: *view, sql: "SELECT 1" }).await;
        match view {
            View::Audit | View::Budgets => {
                assert!(matches!(read, Err(ViewsError::Rebuilding(_))), "{view:?}: {read:?}")
            }
            _ => assert!(read.is_ok(), "{view:?}: {read:?}"),
        }
    }
    drop((permit, gate));
    rebuilt(&views, View::Audit).await;
    views.wait_for(View::Audit, 1).await.expect("it is there");
    assert_eq!(count(&views, View::Audit, "SELECT count(*) FROM rows_audit").await.ok(), Some(1));
    stop(thread, log).await;
}

#[tokio::test]
async fn an_abandoned_query_gives_its_permit_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    let limiter = ConcurrencyLimiter::default();
    let for_ever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    for _ in 0..2 {
        let permit = limiter.admit_query(Requester::Operator).await.expect("a permit");
        let read = views.ask(&permit, Count { view: View::Audit, sql: for_ever });
        assert!(tokio::time::timeout(Duration::from_millis(50), read).await.is_err(), "it runs");
    }
    let permit = limiter.admit_query(Requester::Operator).await.expect("a permit that was given back");
    let read = views.ask(&permit, Count { view: View::Audit, sql: "SELECT 1" });
    assert!(tokio::time::timeout(Duration::from_secs(5), read).await.is_ok_and(|read| read.is_ok()));
    stop(thread, log).await;
}

#[tokio::test]
async fn threads_end_once_the_last_handle_of_the_views_is_dropped() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    partners(&views, make_partner(&log, 1).await).await;
    let ViewsThread { stop, thread, rebuilds, builder } = thread;
    drop((stop, rebuilds));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!builder.is_finished(), "a handle can still ask for a rebuild");
    drop(views);
    for _ in 0..500 {
        if thread.is_finished() && builder.is_finished() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the views' thread ended: {}, the builder: {}", thread.is_finished(), builder.is_finished());
}

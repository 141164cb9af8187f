//! The views' thread over a real log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::{Handles, Partner};
use events::event::{Actor, Chain, Context, Event, Stream, StreamKind};
use events::ids::PartnerId;
use events::log::{Append, Log, LogOptions};
use events::time::SystemClock;
use rusqlite::Connection;

use super::facts::id;
use super::{dump, rows};
use crate::views::{AsOf, Rebuild, RebuildState, VIEWS_FILE, View, ViewsError, ViewsHandle, ViewsThread, start};

fn open_log(dir: &Path) -> Log {
    Log::open(dir, LogOptions::new(Arc::new(SystemClock::new()))).expect("the log opens")
}

async fn make_partner(log: &Log, number: u128) -> u64 {
    let partner: PartnerId = id(number);
    let made = Partner { partner_id: partner, name: format!("p{number}"), handles: Handles::default() };
    let append = Append {
        stream: Stream::new(StreamKind::Partner, partner),
        expected_sequence: 0,
        events: vec![Event::PartnerCreated(Box::new(made))],
        context: Context::about(Actor::Operator, Chain { partner: Some(partner), ..Chain::default() }),
        side: vec![],
        idempotency: None,
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

async fn partners(views: &ViewsHandle, position: u64) -> (u64, u64) {
    views.wait_for(View::Catalogue, position).await.expect("the view gets there");
    let read =
        views.read(View::Catalogue, |db| Ok(db.query_row("SELECT count(*) FROM catalogue", [], |row| row.get(0))?));
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
    let behind = views.wait_for(View::Budgets, 1000).await.expect_err("nothing is there yet");
    assert_eq!((behind.position, behind.wanted), (30, 1000));
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
    assert_eq!(rows(dir.path(), "SELECT max(position) FROM projections"), ["11"]);
    stop(thread, log).await;
}

#[tokio::test]
async fn the_tables_follow_what_administration_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    make_partner(&log, 1).await;
    let (tables, feed) = crate::tables::start(&log).await.expect("the tables start");
    assert!(tables.load().partner(id(1)).is_some());
    let position = make_partner(&log, 2).await;
    assert!(tables.wait_for(position, crate::views::PATIENCE).await);
    assert!(tables.load().partner(id(2)).is_some());
    assert!(tables.wait_for(position + 1, Duration::ZERO).await, "nothing later concerns them");
    feed.stop().await;
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
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
async fn a_view_is_built_anew_while_it_follows_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    for number in 1..=10 {
        make_partner(&log, number).await;
    }
    partners(&views, 10).await;
    // Wrong rows show whether these or new ones are read.
    Connection::open(dir.path().join(VIEWS_FILE)).expect("the views").execute_batch("DELETE FROM audit").expect("gone");
    let first = views.rebuild(View::Audit).expect("it begins");
    let second = views.rebuild(View::Audit).expect("it is answered");
    assert_eq!(first.started_at, second.started_at, "one rebuild at a time");
    for number in 11..=40 {
        let position = make_partner(&log, number).await;
        assert_eq!(partners(&views, position).await, (position, position));
    }
    let ended = rebuilt(&views, View::Audit).await;
    assert_eq!((ended.state, ended.error, ended.percent), (RebuildState::Done, None, 100));
    views.wait_for(View::Audit, 40).await.expect("it is there");
    assert_eq!(rows(dir.path(), "SELECT count(*), max(position) FROM audit"), ["40|40"]);
    assert!(views.status().iter().all(|view| !view.rebuilding && view.lag_events == 0));
    stop(thread, log).await;
}

#[tokio::test]
async fn views_of_another_version_answer_from_their_old_rows_until_they_are_built_anew() {
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
    file.execute_batch("UPDATE projections SET version = 0; DROP TABLE audit").expect("another version");
    drop(file);
    let (views, thread) = start(&log, dir.path(), clock()).expect("the views start");
    let ended = rebuilt(&views, View::Catalogue).await;
    assert_eq!((ended.state, ended.error), (RebuildState::Done, None));
    views.wait_for(View::Audit, 10).await.expect("it is there");
    thread.stop();
    assert_eq!(dump(dir.path()), expected);
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
}

#[tokio::test]
async fn a_view_without_rows_that_can_be_read_says_that_it_is_being_rebuilt() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let clock = || Arc::new(SystemClock::new());
    make_partner(&log, 1).await;
    let (_, thread) = start(&log, dir.path(), clock()).expect("the views start");
    thread.stop();
    let file = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views");
    file.execute_batch("DROP TABLE audit").expect("another version");
    drop(file);
    let (views, thread) = start(&log, dir.path(), clock()).expect("the views start");
    let read = views.read(View::Audit, |db| Ok(db.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?));
    let read: Result<AsOf<u64>, ViewsError> = read.await;
    assert!(matches!(read, Err(ViewsError::Rebuilding(View::Audit)) | Ok(AsOf { value: 1, .. })), "{read:?}");
    rebuilt(&views, View::Audit).await;
    let read = views.read(View::Audit, |db| Ok(db.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?));
    assert_eq!(read.await.map(|read: AsOf<u64>| read.value).ok(), Some(1));
    stop(thread, log).await;
}

#[tokio::test]
async fn a_view_that_cannot_be_read_is_refused_and_the_others_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path(), Arc::new(SystemClock::new())).expect("the views start");
    let position = make_partner(&log, 1).await;
    partners(&views, position).await;
    views.shared.unreadable.set(View::Audit, true);
    for view in View::ALL {
        let read = views.read(*view, |_| Ok(())).await;
        match view {
            View::Audit => assert!(matches!(read, Err(ViewsError::Rebuilding(View::Audit))), "{read:?}"),
            _ => assert!(read.is_ok(), "{read:?}"),
        }
    }
    views.shared.unreadable.set(View::Audit, false);
    assert!(views.read(View::Audit, |_| Ok(())).await.is_ok());
    stop(thread, log).await;
}

#[tokio::test]
async fn threads_that_nobody_stopped_end_once_nobody_holds_the_views() {
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

//! The views' thread over a real log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::{Handles, Partner};
use events::event::{Actor, Chain, Context, Event, Stream, StreamKind};
use events::ids::PartnerId;
use events::log::{Append, Log, LogOptions};
use events::time::SystemClock;

use super::facts::id;
use super::{dump, rows};
use crate::views::{View, ViewsHandle, ViewsThread, start};

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

#[tokio::test]
async fn a_reader_who_waits_sees_what_was_written_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path()).expect("the views start");
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

#[tokio::test]
async fn views_that_were_thrown_away_come_out_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let (views, thread) = start(&log, dir.path()).expect("the views start");
    for number in 1..=10 {
        make_partner(&log, number).await;
    }
    partners(&views, 10).await;
    thread.stop();
    let before = dump(dir.path());
    for name in ["views.db", "views.db-wal", "views.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let (views, thread) = start(&log, dir.path()).expect("the views start");
    partners(&views, 10).await;
    thread.stop();
    assert_eq!(dump(dir.path()), before);
    let (views, thread) = start(&log, dir.path()).expect("the views start");
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

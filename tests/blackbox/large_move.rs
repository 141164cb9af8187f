//! `ledgerway move` of a ledger that is not small. `LEDGERWAY_TEST_MOVE_EVENTS=1000000` makes it a large one.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testing::postgres::TestDatabase;

use crate::gateway::Gateway;
use crate::shared_ledger::{command, folders, node};
use crate::story;
use crate::views;

/// Events of the short form: more than one statement of the copy has, and more than one page of anything.
const EVENTS: u64 = 12_000;
const PAGE: u64 = 1000;
/// Events a second that views are built from at the least, on a busy machine.
const SPEED_MIN: u64 = 500;

/// Holds: bin.move
#[tokio::test(flavor = "multi_thread")]
async fn a_moved_ledger_has_the_same_events_from_both_ends_and_the_same_views() {
    let events = std::env::var("LEDGERWAY_TEST_MOVE_EVENTS").map_or(EVENTS, |set| set.parse().expect("a number"));
    let database = TestDatabase::create();
    done(&mut command(&database.url(), &["migrate"]));
    let [before, after] = folders();
    // Its first start makes the node's key.
    let mut gateway = Gateway::start_in(before.path(), &[]);
    gateway.stop();
    let data = gateway.data();
    record(&data, events);
    gateway.start_again();
    let head = caught_up(&gateway, events).await;
    let (forwards, backwards) = (pages(&gateway, head).await, pages_from_the_end(&gateway, head).await);
    gateway.stop();
    assert!(head > events / 2, "{head} events");
    let (from, to) = (data.display().to_string(), database.url());
    let words = done(&mut command("", &["move", "--from", &from, "--to", &to]));
    assert!(words.contains(&format!("moved {head} events to ")), "{words}");
    let node_key = fs::read_to_string(data.join("node.key")).expect("a key");
    let mut moved = node(&to, after.path(), &[("LEDGERWAY_NODE_KEY", node_key.trim())]);
    assert_eq!(caught_up(&moved, events).await, head);
    assert!(pages(&moved, head).await == forwards, "another log from its beginning");
    assert!(pages_from_the_end(&moved, head).await == backwards, "another log from its end");
    moved.stop();
    let (in_folder, in_database) = (views::dump(&gateway), views::dump(&moved));
    assert_eq!(in_folder.keys().collect::<Vec<_>>(), in_database.keys().collect::<Vec<_>>());
    for (table, rows) in &in_folder {
        assert!(in_database.get(table) == Some(rows), "rows of {table}");
    }
    let words = done(&mut command(&to, &["verify", "--data", &moved.data().display().to_string()]));
    assert!(words.starts_with(&format!("sound: {head} events")) && words.contains("rows of views"), "{words}");
}

/// Records the requests of a few customers.
fn record(data: &Path, events: u64) {
    // It has a runtime of its own, which cannot be in another.
    let record = || story::record(data, events, Duration::ZERO, |_| ());
    std::thread::scope(|scope| scope.spawn(record).join().expect("a story"));
}

/// Runs a command to its end, however long that takes, and returns what it printed.
fn done(command: &mut Command) -> String {
    let ended = command.output().expect("the binary starts");
    let words = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{words}");
    words
}

/// Waits until the views have the whole log, and returns its head.
async fn caught_up(gateway: &Gateway, events: u64) -> u64 {
    let (began, max) = (Instant::now(), Duration::from_secs(60 + events / SPEED_MIN));
    loop {
        let views = gateway.operator().get("/v1/projections").await.must(200).json();
        let is_there = |view: &Value| view["lag_events"] == 0 && view["rebuilding"] == false && view["error"].is_null();
        if views["items"].as_array().expect("a list").iter().all(is_there) {
            return gateway.head().await;
        }
        assert!(began.elapsed() < max, "{views}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A digest of every page of the log, read from its beginning: each page says where the next one begins.
async fn pages(gateway: &Gateway, head: u64) -> Vec<u64> {
    let (mut pages, mut after) = (Vec::new(), Some(0));
    while let Some(position) = after {
        let page = gateway.operator().get(&format!("/v1/events?after={position}&limit={PAGE}")).await.must(200);
        after = page.headers.get("x-ledgerway-next-cursor").map(|next| {
            let next = next.to_str().ok().and_then(|next| next.parse().ok());
            next.expect("a position")
        });
        pages.push(digest(&page.body));
    }
    assert_eq!(pages.len() as u64, head.div_ceil(PAGE), "pages of {head} events");
    pages
}

/// The same from its end, one page after the other, each with the positions in it.
async fn pages_from_the_end(gateway: &Gateway, head: u64) -> Vec<u64> {
    let mut pages = Vec::new();
    for number in (0..head.div_ceil(PAGE)).rev() {
        let after = number * PAGE;
        let page = gateway.operator().get(&format!("/v1/events?after={after}&limit={PAGE}")).await.must(200);
        let lines = page.body.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(lines, PAGE.min(head - after), "events after {after}");
        pages.push(digest(&page.body));
    }
    pages
}

fn digest(page: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    page.hash(&mut hasher);
    hasher.finish()
}

//! Snapshots of the views, which a gateway makes and `replay` begins with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::Tenant;
use crate::views::{Dump, caught_up, dump, dump_of, leave_traces};
use crate::waiting::until;

const EVERY: u64 = 100;
const SETTINGS: [(&str, &str); 1] = [("LEDGERWAY_SNAPSHOT_EVENTS", "100")];

/// Replays, and returns what it says on stdout and stderr, and the rows.
fn replay(as_of: u64, arguments: &[&str]) -> (String, Value, Dump) {
    let [folder] = folders();
    let file = folder.path().join("views.sqlite");
    let mut replay = ledgerway();
    replay.args(["replay", "--json", "--as-of", &as_of.to_string(), "--into"]).arg(&file).args(arguments);
    let (code, words) = said(&mut replay);
    assert_eq!(code, Some(0), "{words}");
    let line = words.lines().find(|line| line.starts_with('{')).expect("an object");
    let object = serde_json::from_str(line).expect("JSON");
    let mut rows = dump_of(&file);
    rows.remove("replay").expect("what the file is");
    (words, object, rows)
}

fn folder_of(data: &Path) -> PathBuf {
    data.join("snapshots")
}

/// The snapshots in a data folder, with their positions.
fn snapshots(data: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(files) = fs::read_dir(folder_of(data)) else { return Vec::new() };
    let position = |path: &Path| path.file_name()?.to_str()?.split_once('-')?.0.parse().ok();
    let paths = files.flatten().map(|file| file.path());
    let mut found: Vec<(u64, PathBuf)> = paths.filter_map(|path| Some((position(&path)?, path))).collect();
    found.sort();
    found
}

/// Waits for the snapshot at this position.
async fn snapshot_at(data: &Path, position: u64) -> PathBuf {
    let found = async || snapshots(data).into_iter().find(|(at, _)| *at == position);
    until(&format!("a snapshot at {position}"), found).await.1
}

async fn add_partners(gateway: &Gateway, number: u64) {
    for _ in 0..number {
        let name = gateway.next_name();
        gateway.operator().post("/v1/admin/partners", &json!({ "name": name })).await.must(201);
    }
}

/// Holds: bin.snapshots
#[tokio::test(flavor = "multi_thread")]
async fn replays_begin_with_the_nearest_snapshot_and_have_the_rows_of_a_gateway_that_was_stopped() {
    let (mut gateway, upstream) = (Gateway::start_with(&SETTINGS), MockUpstream::start().await);
    leave_traces(&gateway, &upstream).await;
    add_partners(&gateway, 2 * EVERY).await;
    caught_up(&gateway).await;
    let nearest = gateway.head().await / EVERY * EVERY;
    snapshot_at(&gateway.data(), nearest).await;
    gateway.stop();
    let stopped = dump(&gateway);
    let (head, data) = (position_of(&stopped), gateway.data().display().to_string());
    let (_, object, rows) = replay(head, &["--data", &data]);
    assert!(rows == stopped, "rows differ");
    assert!(object["snapshot"].as_u64() >= Some(nearest), "{object}");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&folder_of(&gateway.data())), 0o700);
    assert!(snapshots(&gateway.data()).iter().all(|(_, path)| mode(path) == 0o600));

    // The next start goes on, also after a crash in the middle of one.
    fs::write(folder_of(&gateway.data()).join("partial-7.sqlite"), "what a crash has left").expect("a file");
    gateway.start_again();
    add_partners(&gateway, EVERY).await;
    leave_traces(&gateway, &upstream).await;
    let later = gateway.head().await / EVERY * EVERY;
    snapshot_at(&gateway.data(), later).await;
    assert!(later > nearest && !folder_of(&gateway.data()).join("partial-7.sqlite").exists());
    // While it serves, and as of the same position as before.
    let (_, object, rows) = replay(head, &["--data", &data]);
    assert!(rows == stopped && object["snapshot"] == nearest, "{object}");
    let (words, object, _) = replay(EVERY - 1, &["--data", &data]);
    assert!(object["snapshot"].is_null() && !words.contains("passed over"), "{words}");
}

/// The position of all views.
fn position_of(rows: &Dump) -> u64 {
    let of_a_view = rows["rows_projections"].first().expect("a view");
    of_a_view.split('|').nth(2).and_then(|number| number.parse().ok()).expect("a position")
}

/// Holds: bin.snapshots
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_reported_and_not_used_and_the_gateway_makes_do_without_it() {
    let mut gateway = Gateway::start_with(&SETTINGS);
    add_partners(&gateway, 3 * EVERY).await;
    let nearest = gateway.head().await / EVERY * EVERY;
    let snapshot = snapshot_at(&gateway.data(), nearest).await;
    gateway.stop();
    let data = gateway.data().display().to_string();
    let (_, sound, rows) = replay(nearest, &["--data", &data]);
    assert_eq!(sound["snapshot"], nearest);
    let mut bytes = fs::read(&snapshot).expect("the snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&snapshot, bytes).expect("the damage is done");
    let (words, object, without) = replay(nearest, &["--data", &data]);
    let passed_over = format!("passed over {}: it is damaged", snapshot.display());
    assert!(words.contains(&passed_over), "{words}");
    assert!(object["snapshot"].as_u64().is_none_or(|at| at < nearest) && without == rows, "{object}");
    // The gateway finds out when it goes on from it.
    gateway.start_again();
    add_partners(&gateway, EVERY).await;
    let later = gateway.head().await / EVERY * EVERY;
    snapshot_at(&gateway.data(), later).await;
    // It deletes the old one after it has named the new one.
    until("the damaged one is deleted", async || (!snapshot.exists()).then_some(())).await;
    assert!(gateway.stderr().contains("a snapshot cannot be used"), "{}", gateway.stderr());
}

/// Holds: bin.snapshots
#[tokio::test(flavor = "multi_thread")]
async fn there_are_none_unless_they_are_asked_for_and_sixteen_at_most() {
    let without = Gateway::start();
    assert!(!folder_of(&without.data()).exists());
    let gateway = Gateway::start_with(&SETTINGS);
    for number in 1..=20 {
        add_partners(&gateway, EVERY).await;
        snapshot_at(&gateway.data(), number * EVERY).await;
    }
    until("sixteen are left", async || (snapshots(&gateway.data()).len() <= 16).then_some(())).await;
    let positions: Vec<u64> = snapshots(&gateway.data()).into_iter().map(|(position, _)| position).collect();
    assert!(positions.len() == 16 && positions.last() >= Some(&(20 * EVERY)), "{positions:?}");
}

/// Holds: bin.snapshots, bin.shared-ledger-read
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_shared_ledger_has_its_own() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [node_folder] = folders();
    let mut gateway = node(&database.url(), node_folder.path(), &SETTINGS);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for _ in 0..5 {
        tenant.chat("ok").await.must(200);
    }
    add_partners(&gateway, EVERY).await;
    caught_up(&gateway).await;
    let nearest = gateway.head().await / EVERY * EVERY;
    snapshot_at(&gateway.data(), nearest).await;
    gateway.stop();
    let stopped = dump(&gateway);
    let data = gateway.data().display().to_string();
    let (_, object, rows) = replay(position_of(&stopped), &["--data", &data, &database.url()]);
    assert!(rows == stopped && object["snapshot"] == nearest, "{object}");
}

//! `ledgerway verify`: while the folder is served, and of a copy that somebody has touched.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use events::log::LEDGER_FILE;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, ledgerway};
use crate::tenant::Tenant;

/// Exit code and what it says as JSON.
fn verify(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let ended = ledgerway().args(["verify", "--json", "--data"]).arg(folder).args(more).output().expect("it starts");
    (ended.status.code(), serde_json::from_slice(&ended.stdout).unwrap_or_default())
}

/// The databases as they are on disk, write-ahead logs included.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(from).expect("the data folder").flatten() {
        let name = file.file_name();
        if name.to_string_lossy().contains(".db") && !name.to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), to.path().join(name)).expect("a copy");
        }
    }
    to
}

/// Names, lengths and what stands in the files of a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    let read = |path| std::fs::read(path).expect("a file");
    files.map(|file| (file.file_name().to_string_lossy().into_owned(), read(file.path()))).collect()
}

/// Neither in a folder that was left in order nor in one whose process died, also where nothing may be written.
/// Holds: bin.verify-reads
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_leaves_nothing_behind() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    crate::views::caught_up(&gateway).await;
    let look = |folder: &Path, which: &str| {
        for file in std::fs::read_dir(folder).expect("a folder").flatten() {
            std::fs::set_permissions(file.path(), Permissions::from_mode(0o444)).expect("its mode");
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o555)).expect("its mode");
        let before = contents(folder);
        for arguments in [["verify"].as_slice(), &["verify", "--json", "--log-only"], &["status"]] {
            let ended = ledgerway().args(arguments).arg("--data").arg(folder).output().expect("it starts");
            let words = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
            assert_eq!(ended.status.code(), Some(0), "{which} {arguments:?}: {words}");
            assert!(contents(folder) == before, "{which} {arguments:?}: {:?}", contents(folder).keys());
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("its mode");
    };
    gateway.kill();
    let left = copy(&gateway.data());
    let wal = std::fs::metadata(left.path().join("ledger.db-wal")).expect("what was not moved yet");
    assert!(wal.len() > 0);
    look(left.path(), "left by a dead process");
    gateway.start_again();
    gateway.stop();
    let stopped = copy(&gateway.data());
    assert_eq!(std::fs::metadata(stopped.path().join("ledger.db-wal")).map_or(0, |wal| wal.len()), 0);
    look(stopped.path(), "stopped");
}

/// Holds: bin.verify, bin.verify-reads
#[tokio::test(flavor = "multi_thread")]
async fn verify_says_as_json_what_is_sound_and_what_is_not() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for _ in 0..5 {
        tenant.chat("ok").await.must(200);
    }
    let (code, sound) = verify(&gateway.data(), &[]);
    assert_eq!((code, &sound["sound"], &sound["open_holds"]), (Some(0), &true.into(), &0.into()), "served: {sound}");
    gateway.stop();
    let (code, sound) = verify(&gateway.data(), &[]);
    assert_eq!(code, Some(0), "{sound}");
    assert!(sound["views"]["rows"].as_u64().is_some_and(|rows| rows > 10), "{sound}");
    assert_eq!(sound["proven"], json!(["order", "time", "holds", "costs", "budgets"]));
    assert_eq!(sound["not_proven"][0], "completeness");

    let folder = copy(&gateway.data());
    let change = |file: &str, sql: &str| {
        Connection::open(folder.path().join(file)).expect("it opens").execute_batch(sql).expect("the damage is done");
    };
    change("views.db", "UPDATE rows_usage_by_hour SET cost_nanos = cost_nanos + 1");
    let (code, broken) = verify(folder.path(), &[]);
    assert_eq!((code, &broken["sound"]), (Some(1), &false.into()), "{broken}");
    assert!(broken["broken"]["reason"].as_str().is_some_and(|why| why.contains("usage_by_hour")), "{broken}");
    assert_eq!(verify(folder.path(), &["--log-only"]).0, Some(0), "the log itself is sound");

    // The events that they have applied were lost.
    change("views.db", "UPDATE rows_projections SET position = position + 1");
    let (code, broken) = verify(folder.path(), &[]);
    assert_eq!(code, Some(1), "{broken}");
    assert!(broken["broken"]["reason"].as_str().is_some_and(|why| why.contains("the log does not have")), "{broken}");

    let head = sound["events"].as_u64().expect("a number");
    change(
        LEDGER_FILE,
        &format!("DROP TRIGGER events_are_never_deleted; DELETE FROM events WHERE position = {head} - 3"),
    );
    let (code, broken) = verify(folder.path(), &[]);
    assert_eq!((code, &broken["broken"]["position"]), (Some(1), &(head - 2).into()), "{broken}");
    assert_eq!(verify(tempfile::tempdir().expect("a folder").path(), &[]), (Some(2), Value::Null));
}

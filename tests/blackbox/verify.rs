//! `ledgerway verify`: while the folder is served, and of a copy that somebody has touched.

use std::path::Path;

use events::log::LEDGER_FILE;
use rusqlite::Connection;
use serde_json::Value;

use crate::gateway::{Gateway, ledgerway};
use crate::tenant::Tenant;
use crate::upstream::MockUpstream;

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

    let folder = copy(&gateway.data());
    let change = |file: &str, sql: &str| {
        Connection::open(folder.path().join(file)).expect("it opens").execute_batch(sql).expect("the damage is done");
    };
    change("views.db", "UPDATE usage_by_hour SET cost_nanos = cost_nanos + 1");
    let (code, broken) = verify(folder.path(), &[]);
    assert_eq!((code, &broken["sound"]), (Some(1), &false.into()), "{broken}");
    assert!(broken["broken"]["reason"].as_str().is_some_and(|why| why.contains("usage_by_hour")), "{broken}");
    assert_eq!(verify(folder.path(), &["--log-only"]).0, Some(0), "the log itself is sound");

    let head = sound["events"].as_u64().expect("a number");
    change(
        LEDGER_FILE,
        &format!("DROP TRIGGER events_are_never_deleted; DELETE FROM events WHERE position = {head} - 3"),
    );
    let (code, broken) = verify(folder.path(), &[]);
    assert_eq!((code, &broken["broken"]["position"]), (Some(1), &(head - 2).into()), "{broken}");
    assert_eq!(verify(tempfile::tempdir().expect("a folder").path(), &[]), (Some(2), Value::Null));
}

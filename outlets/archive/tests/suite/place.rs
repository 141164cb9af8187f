//! Archives in folders: whose they are, and what is read of a part.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use archive::{Archive, Segments};
use object_storage::ObjectStoreAddress;
use tempfile::TempDir;

use crate::story::{Ledger, archive_all, in_folder, tls};

#[tokio::test]
async fn only_their_owner_may_enter_the_folders_of_an_archive() {
    let (ledger, folder) = (Ledger::with_events(1).await, TempDir::new().expect("a folder"));
    let below = folder.path().join("objects");
    archive_all(&in_folder(&below), &*ledger.reader(), 4).await;
    for made in ["", "archive", "archive/v1", "archive/v1/segments", "archive/v1/manifests"] {
        let mode = fs::metadata(below.join(made)).expect("a folder").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{made}");
    }
}

#[test]
fn an_archive_that_is_only_read_is_not_created() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("missing");
    let opened = Archive::open_existing(&ObjectStoreAddress::of_folder(&missing), |_| None, &tls());
    let error = opened.err().expect("there is none").to_string();
    assert!(error.contains("missing"), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_part_is_read_without_the_segments_before_and_after_it() {
    let (ledger, folder) = (Ledger::with_events(12).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    archive_all(&archive, &*ledger.reader(), 3).await;
    for (from, to, found) in [(1, 12, 1..=12), (4, 6, 4..=6), (5, 7, 4..=9), (12, 12, 10..=12), (6, u64::MAX, 4..=12)] {
        let mut segments = Segments::with_positions(&archive, from, to).await.expect("readable");
        let mut read = Vec::new();
        while let Some(mut events) = segments.next().await.expect("sound") {
            while let Some(recorded) = events.page(1).expect("sound").pop() {
                read.push(recorded.position);
            }
        }
        assert_eq!(read, found.collect::<Vec<u64>>(), "{from} to {to}");
    }
    let mut beyond = Segments::with_positions(&archive, 13, 20).await.expect("readable");
    let last = beyond.next().await.expect("sound").expect("the last one");
    assert_eq!(last.manifest().last, 12);
}

//! Archivers: several at a time, stopped anywhere, and on a log that is not the archive's.

use std::fs;

use archive::{ArchiveError, Archiver, LogDiffers, Sealed, compare_with_log};
use tempfile::TempDir;

use crate::damage::check;
use crate::story::{Ledger, archive_all, archiver, in_folder};

/// The names of an archive's files below a folder.
pub fn names(root: &std::path::Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join("archive/v1").join(folder)).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_archive_is_continued_where_it_ends_and_nothing_is_put_twice() {
    let (ledger, folder) = (Ledger::with_events(10).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    assert_eq!(archive_all(&archive, &*ledger.reader(), 4).await, 3);
    let before = names(folder.path(), "manifests");
    assert_eq!(archive_all(&archive, &*ledger.reader(), 4).await, 0, "it has them all");
    ledger.record(3).await;
    assert_eq!(archive_all(&archive, &*ledger.reader(), 50).await, 1);
    let after = names(folder.path(), "manifests");
    assert_eq!(after[..3], before[..]);
    let checked = check(&archive).await.expect("sound");
    assert_eq!((checked.manifests, checked.last, checked.unused_segments), (4, 13, 0));
}

/// Whatever an archiver had put when it was stopped, the next one ends with an archive that is whole.
#[tokio::test]
async fn an_archiver_that_is_stopped_after_any_step_is_continued() {
    let ledger = Ledger::with_events(7).await;
    for steps in ["nothing", "half a segment", "the segment", "the manifest"] {
        let folder = TempDir::new().expect("a folder");
        let archive = in_folder(folder.path());
        let log = ledger.reader();
        let mut stopped = archiver(&archive, &*log, 4).await;
        stopped.add(&log.after(0, 4).expect("a page")).expect("they follow");
        let packed = stopped.pack().expect("a segment").expect("events");
        if steps != "nothing" {
            stopped.put(&packed).await.expect("put");
        }
        let at = |folder_name: &str| folder.path().join("archive/v1").join(folder_name);
        let segment = || at("segments").join(&names(folder.path(), "segments")[0]);
        let manifest = || at("manifests").join(&names(folder.path(), "manifests")[0]);
        match steps {
            "half a segment" => {
                // As the file system keeps it until it has all of it.
                let half = fs::read(segment()).expect("a file")[..20].to_vec();
                fs::write(format!("{}#1", segment().display()), half).expect("a file");
                fs::remove_file(segment()).expect("a file");
                fs::remove_file(manifest()).expect("a file");
            }
            "the segment" => fs::remove_file(manifest()).expect("a file"),
            _ => {}
        }
        // The next one is of another size.
        let segments = archive_all(&archive, &*log, 3).await;
        let checked = check(&archive).await.unwrap_or_else(|damage| panic!("{steps}: {damage}"));
        assert_eq!(checked.last, 7, "{steps}");
        assert_eq!(segments, if steps == "the manifest" { 1 } else { 3 }, "{steps}");
        assert_eq!(checked.unused_segments, u64::from(steps == "the segment"), "{steps}");
    }
}

#[tokio::test]
async fn of_two_archivers_at_a_time_one_commits_and_both_continue_its_manifest() {
    let (ledger, folder) = (Ledger::with_events(10).await, TempDir::new().expect("a folder"));
    let (archive, log) = (in_folder(folder.path()), ledger.reader());
    let (mut one, mut other) = (archiver(&archive, &*log, 4).await, archiver(&archive, &*log, 6).await);
    one.add(&log.after(0, 10).expect("a page")).expect("they follow");
    other.add(&log.after(0, 10).expect("a page")).expect("they follow");
    let [of_one, of_other] = [&mut one, &mut other].map(|it| it.pack().expect("a segment").expect("events"));
    assert_eq!(one.put(&of_one).await.expect("put"), Sealed::Own);
    assert_eq!(other.put(&of_other).await.expect("put"), Sealed::ByOther);
    let mut other = archiver(&archive, &*log, 6).await;
    assert_eq!((one.position(), other.position()), (4, 4));
    other.add(&log.after(4, 10).expect("a page")).expect("they follow");
    let packed = other.pack().expect("a segment").expect("events");
    assert_eq!(other.put(&packed).await.expect("put"), Sealed::Own);
    let checked = check(&archive).await.expect("sound");
    assert_eq!((checked.manifests, checked.last, checked.unused_segments), (2, 10, 1));
}

/// A store that looks first and puts then can keep the last of two manifests, after the first was read back.
#[tokio::test]
async fn an_archiver_whose_manifest_was_replaced_continues_the_one_that_is_there() {
    let (ledger, log_folder) = (Ledger::with_events(10).await, [(); 2].map(|()| TempDir::new().expect("a folder")));
    let [folder, elsewhere] = log_folder;
    let (archive, log) = (in_folder(folder.path()), ledger.reader());
    let mut one = archiver(&archive, &*log, 4).await;
    one.add(&log.after(0, 10).expect("a page")).expect("they follow");
    let packed = one.pack().expect("a segment").expect("events");
    assert_eq!(one.put(&packed).await.expect("put"), Sealed::Own);
    let mut other = archiver(&in_folder(elsewhere.path()), &*log, 6).await;
    other.add(&log.after(0, 10).expect("a page")).expect("they follow");
    let packed = other.pack().expect("a segment").expect("events");
    other.put(&packed).await.expect("put");
    for below in ["segments", "manifests"] {
        for name in names(elsewhere.path(), below) {
            let file = |root: &std::path::Path| root.join("archive/v1").join(below).join(&name);
            fs::copy(file(elsewhere.path()), file(folder.path())).expect("a copy");
        }
    }
    one.add(&log.after(4, 10).expect("a page")).expect("they follow");
    let packed = one.pack().expect("a segment").expect("events");
    assert_eq!(one.put(&packed).await.expect("looked at"), Sealed::ByOther);
    assert_eq!(archiver(&archive, &*log, 4).await.position(), 6);
    archive_all(&archive, &*log, 4).await;
    let checked = check(&archive).await.expect("sound");
    assert_eq!((checked.last, checked.unused_segments), (10, 1));
}

/// Whoever reads an archive would refuse it from there on, and nothing in it is ever replaced.
#[tokio::test]
async fn a_manifest_that_does_not_continue_the_archive_is_not_put() {
    let (ledger, folder) = (Ledger::with_events(10).await, TempDir::new().expect("a folder"));
    let (archive, log) = (in_folder(folder.path()), ledger.reader());
    archive_all(&archive, &*log, 10).await;
    let before = names(folder.path(), "manifests");
    ledger.record(2).await;
    let newest = archive.newest(10).await.expect("readable");
    let mut other = Archiver::new(archive.clone(), newest, 7, 4);
    other.add(&log.after(10, 4).expect("a page")).expect("they follow");
    let packed = other.pack().expect("a segment").expect("events");
    match other.put(&packed).await {
        Err(ArchiveError::DoesNotContinue { damage, .. }) => assert_eq!(damage.kind.word(), "revaluation_begins"),
        put => panic!("{put:?}"),
    }
    assert_eq!(names(folder.path(), "manifests"), before);
    assert_eq!(check(&archive).await.expect("sound").last, 10);
}

/// An archiver that was told nothing of its success puts again, and gets the same.
#[tokio::test]
async fn a_put_that_is_repeated_because_its_answer_was_lost_is_its_own() {
    let (ledger, folder) = (Ledger::with_events(4).await, TempDir::new().expect("a folder"));
    let (archive, log) = (in_folder(folder.path()), ledger.reader());
    let mut lost = archiver(&archive, &*log, 4).await;
    let mut again = archiver(&archive, &*log, 4).await;
    for each in [&mut lost, &mut again] {
        each.add(&log.after(0, 4).expect("a page")).expect("they follow");
        let packed = each.pack().expect("a segment").expect("events");
        assert_eq!(each.put(&packed).await.expect("put"), Sealed::Own);
    }
    assert_eq!(names(folder.path(), "segments").len(), 1);
}

/// Holds: bin.archive-behind
#[tokio::test]
async fn a_log_that_is_behind_its_archive_or_another_one_is_told_apart_from_it() {
    let (ledger, folder) = (Ledger::with_events(10).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    archive_all(&archive, &*ledger.reader(), 4).await;
    let newest = archive.newest(10).await.expect("readable").expect("a manifest");
    compare_with_log(&archive, &newest, &*ledger.reader()).expect("it is the same");
    ledger.record(2).await;
    compare_with_log(&archive, &newest, &*ledger.reader()).expect("it has gone on");
    let behind = Ledger::with_events(9).await;
    match compare_with_log(&archive, &newest, &*behind.reader()) {
        Err(LogDiffers::Behind { archived: 10, head: 9, .. }) => {}
        other => panic!("{other:?}"),
    }
    let other = Ledger::with_events(3).await;
    other.record(10).await;
    match compare_with_log(&archive, &newest, &*other.reader()) {
        Err(LogDiffers::OtherEvent { position: 10, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newest_manifest_is_found_from_any_hint() {
    let (ledger, folder) = (Ledger::with_events(9).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    assert_eq!(archive.newest(5).await.expect("readable"), None);
    archive_all(&archive, &*ledger.reader(), 2).await;
    for hint in [0, 1, 8, 9, 10, 1_000_000, u64::MAX] {
        let newest = archive.newest(hint).await.expect("readable").expect("a manifest");
        assert_eq!((newest.manifest.first, newest.manifest.last), (9, 9), "{hint}");
    }
}

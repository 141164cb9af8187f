//! Each publication continues the one before, wherever a publisher was stopped.

use std::time::Duration;

use events::event::{Event, Resource, Stream, StreamKind};
use tempfile::TempDir;
use tlog::{EntryBundleId, Hash, SignedCheckpoint, Tile, TileId, parse_entries, verify_consistency, verify_inclusion};
use tokio::time::sleep;
use transparency::leaf;
use transparency::role::PublisherParts;

use crate::ledger::{Ledger, ORIGIN, Publishing, keys, published, signer};

/// Holds: log.published
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_a_leaf_at_its_position_and_the_checkpoint_is_signed() {
    let (ledger, folder) = (Ledger::with_events(700).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(700).await;
    ledger.record_in(&publishing.log, 13).await;
    publishing.reaches(713).await;
    let log = published(folder.path());
    let checkpoint = log.unchecked_checkpoint().await.expect("readable").expect("published");
    let head = keys(7).read(&checkpoint.bytes).expect("signed");
    assert_eq!((head.size, head), (713, checkpoint.head));
    let other = keys(8).read(&checkpoint.bytes);
    assert!(other.is_err(), "another key has not signed it: {other:?}");
    let tree = log.tree(head);
    for recorded in ledger.reader().after(0, 1000).expect("events") {
        let (index, leaf) = (recorded.position - 1, leaf(&recorded).expect("a leaf"));
        let proof = tree.inclusion_proof(index, head.size).await.expect("a proof");
        assert_eq!(verify_inclusion(index, &leaf, &head, &proof), Ok(()), "{}", recorded.position);
    }
    for (index, width) in [(0, 256), (1, 256), (2, 201)] {
        let id = EntryBundleId::new(index, width).expect("an id");
        let bundle = tree.bundle(id).await.expect("readable").expect("published");
        let entries = parse_entries(id, &bundle).expect("a bundle");
        let tile = TileId::new(0, index, width).expect("an id");
        let tile = Tile::parse(tile, &tree.tile(tile).await.expect("readable").expect("published")).expect("a tile");
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::of_leaf(entry)).collect();
        assert_eq!(leaves, tile.hashes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_file_that_is_gone_is_the_beginning_of_the_wider_one() {
    let (ledger, folder) = (Ledger::with_events(300).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(300).await;
    let log = published(folder.path());
    let tree = log.tree(log.unchecked_checkpoint().await.expect("readable").expect("published").head);
    let narrow = TileId::new(0, 1, 5).expect("an id");
    let wide = TileId::new(0, 1, 44).expect("an id");
    let (narrow, wide) = (tree.tile(narrow).await.expect("readable"), tree.tile(wide).await.expect("readable"));
    assert_eq!(narrow.expect("its beginning"), wide.expect("it is published")[..5 * 32]);
    let bundle = EntryBundleId::new(1, 5).expect("an id");
    let entries = tree.bundle(bundle).await.expect("readable").expect("its beginning");
    assert_eq!(parse_entries(bundle, &entries).expect("a bundle").len(), 5);
    for beyond in [TileId::new(0, 1, 45), TileId::new(0, 2, 1), TileId::new(1, 0, 2)] {
        assert!(tree.tile(beyond.expect("an id")).await.expect("readable").is_none(), "{beyond:?}");
    }
}

/// A level that has not grown keeps its partial tile, however long ago that was put.
#[tokio::test(flavor = "multi_thread")]
async fn partial_files_are_deleted_only_when_no_checkpoint_needs_them() {
    let (ledger, folder) = (Ledger::with_events(256).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(256).await;
    for size in [270, 280, 300] {
        ledger.record_in(&publishing.log, size - publishing.status.read().position).await;
        publishing.reaches(size).await;
    }
    publishing.stop();
    let log = published(folder.path());
    let head = log.unchecked_checkpoint().await.expect("readable").expect("published").head;
    log.tree(head).inclusion_proof(3, head.size).await.expect("a proof");
    assert!(folder.path().join("tlog/tile/1/000.p/1").exists());
    assert!(!folder.path().join("tlog/tile/0/001.p/14").exists(), "it was replaced");
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_lost_are_written_again_from_a_ledger_that_has_them() {
    let (ledger, folder) = (Ledger::with_events(700).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(700).await;
    publishing.stop();
    let before = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published").head;
    std::fs::remove_dir_all(folder.path().join("tlog")).expect("lost");
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(700).await;
    let log = published(folder.path());
    assert_eq!(log.unchecked_checkpoint().await.expect("readable").expect("published").head, before);
    log.tree(before).inclusion_proof(3, 700).await.expect("a proof");
}

/// Holds: log.published-repaired
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_lost_one_by_one_or_damaged_are_written_again() {
    let (ledger, folder) = (Ledger::with_events(600).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(600).await;
    publishing.stop();
    let kept = |parts: &mut PublisherParts| parts.partial_kept = Duration::from_secs(60);
    // The publisher reads what it goes on from, and counts the rest, which is found damaged by whoever asks for it.
    for (number, is_lost) in
        [(0, true), (1, true), (2, true), (3, true), (4, true), (5, true), (2, false), (3, false), (5, false)]
    {
        // Each repair is an event, so that the next checkpoint is of more.
        let head = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published").head;
        let name = match number {
            0 => "tile/0/000".to_owned(),
            1 => "tile/0/001".to_owned(),
            2 => TileId::in_tree(head.size, 0, 2).expect("a partial tile").to_string(),
            3 => TileId::in_tree(head.size, 1, 0).expect("a partial tile").to_string(),
            4 => "tile/entries/001".to_owned(),
            _ => EntryBundleId::in_tree(head.size, 2).expect("a partial bundle").to_string(),
        };
        let path = folder.path().join("tlog").join(&name);
        let before = std::fs::read(&path).expect("it was published");
        let mut damaged = before.clone();
        damaged[33] ^= 1;
        match is_lost {
            true => std::fs::remove_file(&path).expect("lost"),
            false => std::fs::write(&path, &damaged).expect("damaged"),
        }
        let publishing = Publishing::with(&ledger, folder.path(), kept);
        publishing.reaches(head.size).await;
        assert_eq!(std::fs::read(&path).ok(), Some(before), "{name}");
        let recorded = ledger.reader().stream(&Stream::new(StreamKind::PublishedLog, ORIGIN)).expect("readable");
        let Some(Event::Resource(Resource::PublishedLogRepaired(repaired))) = recorded.last().map(|last| &last.event)
        else {
            panic!("{name}: {recorded:?}")
        };
        let [file] = &repaired.files[..] else { panic!("{repaired:?}") };
        assert_eq!((&file.path, file.found_sha256.is_none()), (&format!("tlog/{name}"), is_lost), "{repaired:?}");
        publishing.stop();
    }
    // A damaged checkpoint is replaced by the one that is remembered.
    std::fs::write(folder.path().join("tlog/checkpoint"), "?").expect("damaged");
    let publishing = Publishing::start(&ledger, folder.path());
    ledger.record_in(&publishing.log, 10).await;
    let head = ledger.reader().head().expect("a head").position;
    publishing.reaches(head).await;
    let checkpoint = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published");
    assert_eq!(checkpoint.head.size, head);
    publishing.stop();
}

/// A ledger restored from a backup does not show what was published after it.
/// Holds: log.published-restored
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_nothing_is_left_is_published_again_only_when_it_is_told_to() {
    let (ledger, folder) = (Ledger::with_events(20).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(20).await;
    publishing.stop();
    let (restored, empty) = (ledger.fork(), TempDir::new().expect("a folder"));
    let publishing = Publishing::with(&restored, empty.path(), |parts| parts.may_begin = false);
    publishing.fails_with(&["may have been published before"]).await;
    publishing.stop();
    // What it remembers may be as old as the backup.
    let publishing = Publishing::with(&ledger, empty.path(), |parts| parts.may_begin = false);
    publishing.fails_with(&["may have been published before"]).await;
    assert!(published(empty.path()).unchecked_checkpoint().await.expect("readable").is_none());
    publishing.stop();
    let publishing = Publishing::start(&restored, empty.path());
    publishing.reaches(20).await;
    publishing.stop();
}

/// Tiles are never changed: those of another history would stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_with_another_history_puts_no_files_for_those_that_are_lost() {
    let (ledger, folder) = (Ledger::with_events(200).await, TempDir::new().expect("a folder"));
    let fork = ledger.fork();
    let publishing = Publishing::start(&ledger, folder.path());
    ledger.record_in(&publishing.log, 500).await;
    publishing.reaches(700).await;
    publishing.stop();
    let lost = ["tile/0/000", "tile/0/001", "tile/entries/001"].map(|path| folder.path().join("tlog").join(path));
    for path in &lost {
        std::fs::remove_file(path).expect("it was published");
    }
    std::fs::remove_dir_all(folder.path().join("tlog/tile/0/002.p")).expect("it was published");
    let log = fork.open();
    fork.record_in(&log, 600).await;
    log.close();
    let other = Publishing::start(&fork, folder.path());
    other.fails_with(&["does not have the 700 events"]).await;
    other.stop();
    assert!(lost.iter().all(|path| !path.exists()), "{lost:?}");
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(700).await;
    assert!(lost.iter().all(|path| path.exists()), "{lost:?}");
}

/// Whatever it had done by then: each checkpoint continues the ones before it.
/// Holds: log.published-once
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_stopped_at_any_time_is_continued_by_the_next() {
    let (ledger, folder) = (Ledger::with_events(3).await, TempDir::new().expect("a folder"));
    let (log, mut checkpoints) = (published(folder.path()), Vec::new());
    for round in 0..12_u64 {
        let publishing = Publishing::start(&ledger, folder.path());
        ledger.record_in(&publishing.log, 40 + round).await;
        sleep(Duration::from_millis(300 + round * 67)).await;
        publishing.stop();
        checkpoints.extend(log.unchecked_checkpoint().await.expect("readable").map(|checkpoint| checkpoint.head));
    }
    let publishing = Publishing::start(&ledger, folder.path());
    let events = ledger.reader().head().expect("a head").position;
    publishing.reaches(events).await;
    let newest = log.unchecked_checkpoint().await.expect("readable").expect("published").head;
    assert!(checkpoints.len() > 3 && newest.size == events, "{checkpoints:?}");
    for old in checkpoints {
        let proof = log.tree(newest).consistency_proof(old.size, newest.size).await.expect("a proof");
        assert_eq!(verify_consistency(&old, &newest, &proof), Ok(()), "{}", old.size);
    }
}

/// The memory of the role decides, whatever is in the object store: a checkpoint that was signed is never contradicted.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_remembered_and_not_published_is_published_by_the_next() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(5).await;
    let before = std::fs::read(folder.path().join("tlog/checkpoint")).expect("a checkpoint");
    ledger.record_in(&publishing.log, 2).await;
    publishing.reaches(7).await;
    publishing.stop();
    std::fs::write(folder.path().join("tlog/checkpoint"), before).expect("the one before");
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(7).await;
    let log = published(folder.path());
    let again = log.unchecked_checkpoint().await.expect("readable").expect("published");
    assert_eq!(keys(7).read(&again.bytes).expect("signed").size, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_forks_of_a_ledger_one_is_published_and_the_other_one_stops() {
    let (ledger, folder) = (Ledger::with_events(4).await, TempDir::new().expect("a folder"));
    let fork = ledger.fork();
    let one = Publishing::start(&ledger, folder.path());
    ledger.record_in(&one.log, 2).await;
    one.reaches(6).await;
    let other = Publishing::start(&fork, folder.path());
    let why = other.fails().await;
    assert!(why.contains("6 events") && why.contains("the ledger has 4"), "{why}");
    fork.record_in(&other.log, 4).await;
    other.stop();
    let other = Publishing::start(&fork, folder.path());
    let why = other.fails().await;
    assert!(why.contains("another event at position 5"), "{why}");
    ledger.record_in(&one.log, 2).await;
    one.reaches(8).await;
}

/// Both have the role, as after a suspension, and both continue the same checkpoint with events of their own.
/// Holds: log.published-once
#[tokio::test(flavor = "multi_thread")]
async fn two_publishers_of_different_histories_never_publish_both() {
    for number in [3, 4, 2] {
        never_both(number).await;
    }
}

async fn never_both(number: u64) {
    let (ledger, folder) = (Ledger::with_events(4).await, TempDir::new().expect("a folder"));
    let fork = ledger.fork();
    let (one, other) = (Publishing::start(&ledger, folder.path()), Publishing::start(&fork, folder.path()));
    one.reaches(4).await;
    other.reaches(4).await;
    ledger.record_in(&one.log, 3).await;
    one.reaches(7).await;
    // As many, and another number: tiles of other widths do not meet.
    fork.record_in(&other.log, number).await;
    other.fails_with(&["another event at position 5", "the ledger has 6"]).await;
    let checkpoint = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published");
    let ours = ledger.reader();
    transparency::verify(&*ours, checkpoint.head, |_| None, |_, _| None, &[], &mut |_, _| {}).expect("of the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_key_is_not_continued() {
    let (ledger, folder) = (Ledger::with_events(4).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(4).await;
    publishing.stop();
    let signed = std::fs::read(folder.path().join("tlog/checkpoint")).expect("a checkpoint");
    let forged = SignedCheckpoint::parse(&signed).expect("a checkpoint").unverified().clone();
    let forged = SignedCheckpoint::sign(forged, &signer(9)).expect("signed").to_string();
    std::fs::write(folder.path().join("tlog/checkpoint"), forged).expect("replaced");
    let publishing = Publishing::start(&ledger, folder.path());
    let why = publishing.fails().await;
    assert!(why.contains("not one of this ledger"), "{why}");
}

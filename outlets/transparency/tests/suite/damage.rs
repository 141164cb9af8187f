//! Damage to the files of a published log: whichever byte is another one, the file is named.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::event::{Stream, StreamKind};
use tempfile::TempDir;
use testing::random::SplitMix64;
use tlog::{TileId, TreeHead};
use tokio::task::JoinSet;
use tokio::time::sleep;
use transparency::{FileFault, KeyHistory, PublishedError, PublishedPlace, ReaderKind, repairer};

use crate::ledger::{Ledger, ORIGIN, Publishing, objects, published};

/// Two full tiles and a partial one, and a partial one above them.
const EVENTS: u64 = 700;
const FLIPS: usize = 2000;
/// How long a repair may take on a busy machine.
const REPAIR_MAX: Duration = Duration::from_secs(30);

/// A file of a published log: its name in the object store, and its bytes.
struct PublishedFile {
    name: String,
    bytes: Vec<u8>,
}

fn files_below(root: &Path, folder: &Path, found: &mut Vec<PublishedFile>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            found.push(PublishedFile { name, bytes: fs::read(&path).expect("a file") });
        }
    }
}

/// A log that was published, with its files, in the order of their names.
async fn recorded(ledger: &Ledger, folder: &Path) -> (Vec<PublishedFile>, KeyHistory, TreeHead) {
    let publishing = Publishing::start(ledger, folder);
    publishing.reaches(EVENTS).await;
    publishing.stop();
    let keys = KeyHistory::read(ORIGIN, &*ledger.reader()).expect("keys");
    let mut files = Vec::new();
    files_below(folder, &folder.join("tlog"), &mut files);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let head = keys.read_in_force(&fs::read(folder.join("tlog/checkpoint")).expect("published")).expect("signed");
    (files, keys, head)
}

/// The name of the first file that is not right.
async fn damaged(folder: &Path, head: TreeHead) -> Option<String> {
    match published(folder).tree(head).check_all(&mut |_, _| ()).await {
        Ok(_) => None,
        Err(PublishedError::Damaged(damaged)) => Some(damaged.path),
        Err(error) => panic!("{error}"),
    }
}

/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn whichever_bit_is_flipped_the_file_is_named() {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let (files, keys, head) = recorded(&ledger, folder.path()).await;
    let checked = published(folder.path()).tree(head).check_all(&mut |_, _| ()).await.expect("nobody changed it");
    assert_eq!(checked, files.len() as u64 - 1, "all but the checkpoint");
    let mut random = SplitMix64::new(51);
    let mut below = |end: usize| usize::try_from(random.next_u64() % end as u64).expect("few");
    for _ in 0..FLIPS {
        let PublishedFile { name, bytes } = &files[below(files.len())];
        let (at, bit) = (below(bytes.len()), below(8));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(folder.path().join(name), &flipped).expect("flipped");
        let found = match name.as_str() {
            "tlog/checkpoint" => keys.read_in_force(&flipped).err().map(|_| name.clone()),
            _ => damaged(folder.path(), head).await,
        };
        assert_eq!(found.as_ref(), Some(name), "bit {bit} of byte {at}");
        fs::write(folder.path().join(name), bytes).expect("as it was");
    }
}

/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_cut_or_unknown_is_named() {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let (files, _, head) = recorded(&ledger, folder.path()).await;
    for PublishedFile { name, bytes } in files.iter().filter(|file| file.name != "tlog/checkpoint") {
        let path = folder.path().join(name);
        for other in [None, Some(&bytes[..bytes.len() - 1]), Some(&[&bytes[..], b"\n"].concat()[..])] {
            match other {
                None => fs::remove_file(&path).expect("gone"),
                Some(other) => fs::write(&path, other).expect("changed"),
            }
            assert_eq!(damaged(folder.path(), head).await.as_ref(), Some(name), "{:?}", other.map(<[u8]>::len));
            fs::write(&path, bytes).expect("as it was");
        }
    }
    let narrow = folder.path().join("tlog/tile/0/002.p/5");
    fs::write(&narrow, &fs::read(folder.path().join("tlog/tile/0/002.p/188")).expect("published")[..160]).expect("put");
    assert_eq!(damaged(folder.path(), head).await, None, "it was published before");
    fs::write(&narrow, [7; 160]).expect("changed");
    assert_eq!(damaged(folder.path(), head).await.as_deref(), Some("tlog/tile/0/002.p/5"));
    fs::remove_file(&narrow).expect("gone");
    fs::write(folder.path().join("tlog/tile/0/0"), "").expect("put");
    let found = published(folder.path()).tree(head).check_all(&mut |_, _| ()).await;
    let is_unknown = |error: &PublishedError| matches!(error, PublishedError::Damaged(damaged) if damaged.fault == FileFault::UnknownName);
    assert!(found.as_ref().is_err_and(is_unknown), "{found:?}");
}

/// Files that are missing of a tree that a newer one has replaced are nobody's loss.
/// Holds: log.published-repaired
#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_newest_tree_alone_are_repaired_whatever_reader_asks() {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(EVENTS).await;
    let (requests, repairer) = repairer(publishing.log.clone());
    let (pending, objects) = (repairer.pending(), objects(folder.path()));
    let mut repairing = JoinSet::new();
    repairing.spawn(repairer.run());
    let place = PublishedPlace::new(Arc::new(move || Ok(objects.clone())), publishing.log.clone(), requests);
    let newest = async || place.read(ReaderKind::Anybody).await.expect("it opens").newest().await;
    let (first, second) = (TileId::new(0, 0, 256).expect("a tile"), TileId::new(0, 1, 256).expect("a tile"));
    let older = newest().await.expect("readable").expect("published").tree;
    for _ in 0..2 {
        let events = publishing.status.read().position + 10;
        ledger.record_in(&publishing.log, 10).await;
        publishing.reaches(events).await;
    }
    let gone = folder.path().join("tlog/tile/0/002.p/188");
    assert!(!gone.exists(), "it was replaced");
    assert!(older.tile(first).await.is_err(), "its reader finds it missing, and asks");
    let damaged = folder.path().join("tlog").join(second.to_string());
    let whole = std::fs::read(&damaged).expect("published");
    std::fs::write(&damaged, "?").expect("damaged");
    let began = Instant::now();
    // The requests are dealt with one after the other.
    while newest().await.expect("readable").expect("published").tree.tile(second).await.is_err() {
        assert!(began.elapsed() < REPAIR_MAX, "it was not repaired");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read(&damaged).expect("repaired"), whole);
    assert!(!gone.exists(), "nobody needs it");
    // By the task, or before a stop.
    pending.record().await;
    let recorded = || ledger.reader().stream(&Stream::new(StreamKind::PublishedLog, ORIGIN)).expect("readable").len();
    while recorded() == 0 {
        assert!(began.elapsed() < REPAIR_MAX, "it was not recorded");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(recorded(), 1);
    publishing.stop();
}

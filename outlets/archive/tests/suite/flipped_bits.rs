//! One bit that is another one, anywhere in the files of an archive: the file is named.

use std::fs;
use std::path::Path;

use archive::{Archive, Checked, Damage, DamageKind, Digest, ReadError, Segments};
use tempfile::TempDir;
use testing::random::SplitMix64;

use crate::story::{Ledger, archive_all, in_folder};

const SEGMENT_EVENTS: u64 = 4;
/// Two full segments, and one that is not.
const EVENTS: u64 = 10;
const FLIPS: usize = 2000;

/// A file of an archive: its name in the object store, and its bytes.
struct ArchivedFile {
    name: String,
    bytes: Vec<u8>,
}

/// All files of an archive, in the order of their names.
fn files_of(root: &Path) -> Vec<ArchivedFile> {
    let mut files = Vec::new();
    for folder in ["archive/v1/manifests", "archive/v1/segments"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let name = format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy());
            let bytes = fs::read(root.join(&name)).expect("a file");
            files.push(ArchivedFile { name, bytes });
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

/// Checks all of an archive, as `verify --archive` does.
async fn check(archive: &Archive) -> Result<Checked, Box<Damage>> {
    let damage = |error: ReadError| match error {
        ReadError::Damage(damage) => damage,
        ReadError::Store(error) => panic!("{error}"),
    };
    let mut segments = Segments::all(archive).await.map_err(damage)?;
    while let Some(mut events) = segments.next().await.map_err(damage)? {
        while !events.page(100).map_err(Box::new)?.is_empty() {}
    }
    segments.finish_strictly().await.map_err(damage)
}

/// Whether this file is named: alone, or as the one of two manifests that disagree. A manifest has the hash of the one before it, and
/// nothing else says which of the two is right.
fn is_named(damage: &Damage, name: &str) -> bool {
    let is_after = matches!(&damage.kind, DamageKind::PreviousChanged { after, .. } if after == name);
    is_after || damage.object == name
}

/// Holds: bin.archive-damage
#[tokio::test]
async fn whichever_bit_of_an_archive_is_flipped_the_file_is_named() {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    assert_eq!(archive_all(&archive, &*ledger.reader(), SEGMENT_EVENTS).await, 3);
    // A segment that an archiver left, which no manifest names.
    let left = b"of an archiver that was stopped";
    let positions = "00000000000000000005-00000000000000000006";
    let name = format!("archive/v1/segments/{positions}-{}.jsonl.gz", Digest::of(left).short());
    fs::write(folder.path().join(name), left).expect("left");
    let files = files_of(folder.path());
    assert_eq!(files.len(), 7);
    let sound = Checked { manifests: 3, last: EVENTS, unused_segments: 1 };
    assert_eq!(check(&archive).await.expect("nobody changed it"), sound);
    let mut random = SplitMix64::new(51);
    let mut below = |end: usize| usize::try_from(random.next_u64() % end as u64).expect("few");
    for _ in 0..FLIPS {
        let ArchivedFile { name, bytes } = &files[below(files.len())];
        let (at, bit) = (below(bytes.len()), below(8));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(folder.path().join(name), &flipped).expect("flipped");
        let damage = check(&archive).await.err();
        let is_found = damage.as_ref().is_some_and(|damage| is_named(damage, name));
        assert!(is_found, "bit {bit} of byte {at} of {name}: {damage:?}");
        fs::write(folder.path().join(name), bytes).expect("as it was");
    }
    assert_eq!(check(&archive).await.expect("as it was"), sound);
}

/// All is found in a manifest that is the only one, but a changed `revaluation_begins_after`: no event says it, and no manifest comes
/// after it that would have its hash. The events, the balances and all proofs are the same whatever it says; it matters to corrections
/// of prices that are recorded in a restored ledger. From the second segment on it is found, as the test above shows.
///
/// Holds: bin.archive-damage
#[tokio::test]
async fn of_the_only_manifest_one_number_alone_cannot_be_checked() {
    let (ledger, folder) = (Ledger::with_events(SEGMENT_EVENTS).await, TempDir::new().expect("a folder"));
    let archive = in_folder(folder.path());
    assert_eq!(archive_all(&archive, &*ledger.reader(), SEGMENT_EVENTS).await, 1);
    let files = files_of(folder.path());
    let ArchivedFile { name, bytes } = files.first().expect("the manifest");
    let text = std::str::from_utf8(bytes).expect("text");
    let member = "\"revaluation_begins_after\":";
    let begin = text.find(member).expect("a member") + member.len();
    let end = begin + text[begin..].find([',', '}']).expect("its end");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(folder.path().join(name), &flipped).expect("flipped");
        match check(&archive).await {
            Ok(_) => assert!((begin..end).contains(&at), "byte {at} of {text}"),
            Err(damage) => assert_eq!(&damage.object, name, "byte {at}: {damage}"),
        }
    }
}

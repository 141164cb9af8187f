//! Every kind of damage to an archive's files is named. Damage that hashes notice is done to the files as they are; what is
//! behind it is reached by forging all hashes too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use archive::{Archive, Checked, Damage, Digest, ReadError, Segments};
use events::canonical;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::story::{Ledger, archive_all, in_folder};

const SEGMENT_EVENTS: u64 = 4;
const EVENTS: u64 = 10;

/// Reads all of an archive.
pub async fn check(archive: &Archive) -> Result<Checked, Box<Damage>> {
    let damage = |error: ReadError| match error {
        ReadError::Damage(damage) => damage,
        ReadError::Store(error) => panic!("{error}"),
    };
    let mut segments = Segments::all(archive).await.map_err(damage)?;
    while let Some(mut events) = segments.next().await.map_err(damage)? {
        while !events.page(3).map_err(Box::new)?.is_empty() {}
    }
    segments.finish().await.map_err(damage)
}

/// The files of an archive, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn read_files(root: &Path, folder: &str) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(root.join(folder)).expect("a folder") {
        let name = format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy());
        let bytes = fs::read(root.join(&name)).expect("a file");
        files.insert(name, bytes);
    }
    files
}

async fn check_files(files: &Files) -> Result<Checked, Box<Damage>> {
    let folder = TempDir::new().expect("a folder");
    let archive = in_folder(folder.path());
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    check(&archive).await
}

/// A segment as its manifest and its lines.
#[derive(Clone)]
struct Segment {
    manifest: Value,
    lines: Vec<Vec<u8>>,
    /// The object that is put in place of the packed lines.
    object: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Whole {
    files: Files,
    segments: Vec<Segment>,
}

fn digest(bytes: &[u8]) -> Value {
    Digest::of(bytes).to_string().into()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).expect("gzip");
    gzip.finish().expect("gzip")
}

fn unpacked(object: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(object).read_to_end(&mut bytes).expect("gzip");
    bytes
}

impl Whole {
    async fn make() -> Self {
        let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
        let archive = in_folder(folder.path());
        assert_eq!(archive_all(&archive, &*ledger.reader(), SEGMENT_EVENTS).await, 3);
        let manifests = read_files(folder.path(), "archive/v1/manifests");
        let objects = read_files(folder.path(), "archive/v1/segments");
        let segments = manifests.values().map(|manifest| {
            let manifest: Value = serde_json::from_slice(manifest).expect("JSON");
            let lines = unpacked(&objects[manifest["object"].as_str().expect("a name")]);
            let lines = lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            Segment { manifest, lines, object: None }
        });
        let segments = segments.collect();
        Self { files: manifests.into_iter().chain(objects).collect(), segments }
    }

    fn manifest_name(&self, number: usize) -> String {
        format!(
            "archive/v1/manifests/{:020}.json",
            self.segments[number].manifest["first"].as_u64().expect("a position")
        )
    }

    fn object_name(&self, number: usize) -> String {
        self.segments[number].manifest["object"].as_str().expect("a name").to_owned()
    }

    /// With one manifest changed as a value, and nothing else.
    fn with_manifest(&self, number: usize, change: impl FnOnce(&mut Value)) -> Files {
        let (mut files, mut manifest) = (self.files.clone(), self.segments[number].manifest.clone());
        change(&mut manifest);
        files.insert(self.manifest_name(number), canonical::to_string(&manifest).expect("JSON").into_bytes());
        files
    }

    fn with_file(&self, name: String, change: impl FnOnce(&mut Vec<u8>)) -> Files {
        let mut files = self.files.clone();
        change(files.get_mut(&name).expect("a file"));
        files
    }

    /// Changes segments, and makes all hashes, lengths and names match. `after` changes a manifest after that, before the next
    /// one is chained to it.
    fn forged(&self, change: impl FnOnce(&mut Vec<Segment>), after: impl Fn(usize, &mut Value)) -> Files {
        let (mut segments, mut files, mut previous) = (self.segments.clone(), Files::new(), None::<Vec<u8>>);
        change(&mut segments);
        for (number, segment) in segments.into_iter().enumerate() {
            let Segment { mut manifest, lines, object } = segment;
            let bytes = lines.concat();
            let object = object.unwrap_or_else(|| packed(&bytes));
            manifest["events_bytes"] = bytes.len().into();
            manifest["events_sha256"] = digest(&bytes);
            manifest["object_bytes"] = object.len().into();
            manifest["object_sha256"] = digest(&object);
            let last = lines.last().map(|line| line.strip_suffix(b"\n").unwrap_or(line));
            manifest["last_event_sha256"] = digest(last.unwrap_or_default());
            let positions = ["first", "last"].map(|end| manifest[end].as_u64().expect("a position"));
            let short = &Digest::of(&object).to_string()[..16];
            let name = format!("archive/v1/segments/{:020}-{:020}-{short}.jsonl.gz", positions[0], positions[1]);
            manifest["object"] = name.clone().into();
            if let Some(previous) = &previous {
                manifest["previous"] = digest(previous);
            }
            after(number, &mut manifest);
            let manifest_name =
                format!("archive/v1/manifests/{:020}.json", manifest["first"].as_u64().expect("a position"));
            let stored = canonical::to_string(&manifest).expect("JSON").into_bytes();
            files.insert(name, object);
            files.insert(manifest_name, stored.clone());
            previous = Some(stored);
        }
        files
    }

    /// With changed segments alone.
    fn with_segments(&self, change: impl FnOnce(&mut Vec<Segment>)) -> Files {
        self.forged(change, |_, _| ())
    }

    /// With one line changed as text.
    fn with_line(&self, from: &str, to: &str) -> Files {
        self.with_segments(|segments| {
            let line = String::from_utf8(segments[1].lines[1].clone()).expect("text");
            assert!(line.contains(from), "{line}");
            segments[1].lines[1] = line.replacen(from, to, 1).into_bytes();
        })
    }
}

/// An object, by the first position in its name.
#[derive(Clone, Copy)]
enum Named {
    Manifest(u64),
    /// The segment that the manifest of this position names.
    Segment(u64),
    Other(&'static str),
}

impl Named {
    fn name_in(self, files: &Files) -> String {
        let manifest = |first: u64| format!("archive/v1/manifests/{first:020}.json");
        match self {
            Self::Manifest(first) => manifest(first),
            Self::Segment(first) => {
                let manifest: Value = serde_json::from_slice(&files[&manifest(first)]).expect("JSON");
                manifest["object"].as_str().expect("a name").to_owned()
            }
            Self::Other(name) => name.to_owned(),
        }
    }
}

/// Files, the word for their damage, a part of the sentence, and the object and the position that are named.
type Case = (Files, &'static str, &'static str, (Named, u64));

fn cases(whole: &Whole) -> Vec<Case> {
    let manifest = |number, change: fn(&mut Value)| whole.with_manifest(number, change);
    let file = |name: String, change: fn(&mut Vec<u8>)| whole.with_file(name, change);
    let without = |name: String| {
        let mut files = whole.files.clone();
        files.remove(&name);
        files
    };
    let moved = |from: String, to: &str| {
        let mut files = whole.files.clone();
        let bytes = files.remove(&from).expect("a file");
        files.insert(to.to_owned(), bytes);
        files
    };
    let swapped = |a: String, b: String| {
        let mut files = whole.files.clone();
        let (in_a, in_b) = (files[&a].clone(), files[&b].clone());
        files.extend([(a, in_b), (b, in_a)]);
        files
    };
    let forged = |change: fn(&mut Vec<Segment>)| whole.with_segments(change);
    let chained = |number, change: fn(&mut Value)| {
        whole.forged(
            |_| (),
            move |forged, manifest| {
                if forged == number {
                    change(manifest)
                }
            },
        )
    };
    let (first, middle) = (whole.manifest_name(0), whole.manifest_name(1));
    let (object, other_object) = (whole.object_name(1), whole.object_name(0));
    vec![
        (file(object.clone(), |bytes| bytes[20] ^= 1), "segment_changed", "SHA-256", (Named::Segment(5), 5)),
        (file(object.clone(), |bytes| bytes.truncate(40)), "segment_length", "40 bytes", (Named::Segment(5), 5)),
        (file(object.clone(), |bytes| bytes.push(0)), "segment_length", "and not", (Named::Segment(5), 5)),
        (file(object.clone(), Vec::clear), "segment_length", "0 bytes", (Named::Segment(5), 5)),
        (manifest(1, |it| it["object_bytes"] = 99.into()), "manifest_changed", "length", (Named::Manifest(5), 5)),
        (without(object.clone()), "segment_missing", "is missing", (Named::Segment(5), 5)),
        (swapped(object.clone(), other_object), "segment_changed", "and not", (Named::Segment(1), 1)),
        (
            moved(object.clone(), "archive/v1/segments/x.jsonl.gz"),
            "segment_missing",
            "is missing",
            (Named::Segment(5), 5),
        ),
        (without(middle.clone()), "gap", "positions 5 to 8 are missing", (Named::Manifest(9), 5)),
        (without(first.clone()), "gap", "positions 1 to 4 are missing", (Named::Manifest(5), 1)),
        (file(middle.clone(), |bytes| bytes.truncate(100)), "manifest_not_json", "not JSON", (Named::Manifest(5), 5)),
        (file(middle.clone(), Vec::clear), "manifest_not_json", "not JSON", (Named::Manifest(5), 5)),
        (
            file(middle.clone(), |bytes| bytes.push(b'\n')),
            "manifest_not_canonical",
            "canonical",
            (Named::Manifest(5), 5),
        ),
        (
            file(middle.clone(), |bytes| bytes.resize(20_000, b' ')),
            "manifest_too_long",
            "20000 bytes",
            (Named::Manifest(5), 5),
        ),
        (
            file(middle.clone(), |bytes| *bytes = b"[]".to_vec()),
            "manifest_member",
            "not a manifest",
            (Named::Manifest(5), 5),
        ),
        (manifest(1, |it| it["signed"] = true.into()), "manifest_member", "signed", (Named::Manifest(5), 5)),
        (
            manifest(1, |it| drop(it.as_object_mut().expect("it").remove("count"))),
            "manifest_member",
            "count",
            (Named::Manifest(5), 5),
        ),
        (
            manifest(1, |it| it["object_sha256"] = "00".into()),
            "manifest_member",
            "64 hexadecimal digits",
            (Named::Manifest(5), 5),
        ),
        (manifest(1, |it| it["version"] = 2.into()), "manifest_version", "version 2", (Named::Manifest(5), 5)),
        (
            moved(middle.clone(), "archive/v1/manifests/00000000000000000006.json"),
            "manifest_name",
            "position 5",
            (Named::Manifest(6), 6),
        ),
        (
            moved(middle.clone(), "archive/v1/manifests/old-5.json"),
            "unknown_object",
            "no object of an archive",
            (Named::Other("archive/v1/manifests/old-5.json"), 1),
        ),
        (swapped(first, middle), "manifest_name", "named after another", (Named::Manifest(1), 1)),
        (manifest(1, |it| it["last"] = 3.into()), "positions_reversed", "from 5 to 3", (Named::Manifest(5), 5)),
        (manifest(1, |it| it["count"] = 3.into()), "count", "3 events", (Named::Manifest(5), 5)),
        (
            manifest(1, |it| it["last_recorded_at"] = "2001-01-01T00:00:00.000000Z".into()),
            "times_reversed",
            "older",
            (Named::Manifest(5), 5),
        ),
        (
            manifest(1, |it| it["events_bytes"] = (1_u64 << 40).into()),
            "segment_too_long",
            "longer than any",
            (Named::Manifest(5), 5),
        ),
        (
            manifest(1, |it| it["object"] = "archive/v1/segments/other".into()),
            "segment_name",
            "segments/other",
            (Named::Manifest(5), 5),
        ),
        (
            manifest(1, |it| it["previous"] = it["log"].clone()),
            "previous_changed",
            "was changed",
            (Named::Manifest(1), 1),
        ),
        // The next one notices.
        (
            manifest(0, |it| it["revaluation_begins_after"] = 7.into()),
            "previous_changed",
            "was changed",
            (Named::Manifest(1), 1),
        ),
        (
            manifest(0, |it| it["last_event_sha256"] = it["events_sha256"].clone()),
            "last_event",
            "last event",
            (Named::Manifest(1), 1),
        ),
        (chained(0, |it| it["previous"] = it["log"].clone()), "none_before", "first manifest", (Named::Manifest(1), 1)),
        (
            chained(1, |it| drop(it.as_object_mut().expect("it").remove("previous"))),
            "previous_absent",
            "does not say",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["log"] = it["events_sha256"].clone()),
            "other_log",
            "another ledger",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["revaluation_begins_after"] = 7.into()),
            "revaluation_begins",
            "after position 7",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["first_recorded_at"] = "2001-01-01T00:00:00.000000Z".into()),
            "older_than_previous",
            "older",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["events_bytes"] = 99.into()),
            "unpacks_to_more",
            "more than 99 bytes",
            (Named::Manifest(5), 5),
        ),
        (chained(1, |it| it["events_bytes"] = 9999.into()), "events_length", "and not 9999", (Named::Manifest(5), 5)),
        (
            chained(1, |it| it["events_sha256"] = it["log"].clone()),
            "events_changed",
            "not those of its manifest",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["last_event_sha256"] = it["log"].clone()),
            "last_event",
            "last event",
            (Named::Manifest(5), 5),
        ),
        (
            chained(1, |it| it["last_recorded_at"] = "2030-01-01T00:00:00.000000Z".into()),
            "times",
            "times",
            (Named::Manifest(5), 5),
        ),
        (
            chained(0, |it| it["log"] = it["events_sha256"].clone()),
            "first_event",
            "named after",
            (Named::Manifest(1), 1),
        ),
        (
            forged(|all| all[1].object = Some(b"no gzip at all".to_vec())),
            "not_gzip",
            "not gzip",
            (Named::Segment(5), 5),
        ),
        (forged(|all| all[1].object = Some(cut(&all[1]))), "not_gzip", "cut off", (Named::Segment(5), 5)),
        (
            forged(|all| all[1].object = Some(doubled(&all[1]))),
            "after_the_end",
            "after the end",
            (Named::Segment(5), 5),
        ),
        (forged(|all| all[1].lines[3].truncate(100)), "line_not_ended", "line 4", (Named::Segment(5), 8)),
        (forged(|all| all[1].lines[2][30] = 0xff), "not_utf8", "line 3", (Named::Segment(5), 7)),
        (forged(|all| all[1].lines[2] = b"{}\n".to_vec()), "not_an_event", "position", (Named::Segment(5), 7)),
        (forged(|all| all[1].lines[2] = b"\n".to_vec()), "not_an_event", "JSON", (Named::Segment(5), 7)),
        (
            whole.with_line("access.denied.v1", "access.denied.v7"),
            "not_an_event",
            "unknown event type",
            (Named::Segment(5), 6),
        ),
        (whole.with_line("{\"actor\"", "{ \"actor\""), "not_an_event", "canonical form", (Named::Segment(5), 6)),
        (whole.with_line("\"actor\":\"system:gateway\",", ""), "not_an_event", "context", (Named::Segment(5), 6)),
        (
            whole.with_line("\"position\":6", "\"position\":7"),
            "position",
            "position 7, and not 6",
            (Named::Segment(5), 6),
        ),
        (
            whole.with_line("\"recorded_at\":\"2027", "\"recorded_at\":\"2026"),
            "time_back",
            "older than the event before",
            (Named::Segment(5), 6),
        ),
        (
            forged(|all| all[1].lines[2] = all[1].lines[1].clone()),
            "position",
            "position 6, and not 7",
            (Named::Segment(5), 7),
        ),
        (forged(|all| drop(all[1].lines.remove(2))), "position", "position 8, and not 7", (Named::Segment(5), 7)),
        (forged(|all| all[1].lines.swap(1, 2)), "position", "position 7, and not 6", (Named::Segment(5), 6)),
        (forged(|all| drop(all[1].lines.pop())), "count", "3 events", (Named::Manifest(5), 5)),
        (forged(|all| drop(all.remove(1))), "gap", "5 to 8", (Named::Manifest(9), 5)),
        (forged(|all| overlapping(all)), "overlap", "4", (Named::Manifest(4), 4)),
    ]
}

fn cut(segment: &Segment) -> Vec<u8> {
    let mut object = packed(&segment.lines.concat());
    object.truncate(object.len() - 6);
    object
}

fn doubled(segment: &Segment) -> Vec<u8> {
    let object = packed(&segment.lines.concat());
    [object.clone(), object].concat()
}

/// The second segment begins with the last event of the first.
fn overlapping(segments: &mut [Segment]) {
    let line = segments[0].lines[3].clone();
    let at = segments[0].manifest["last_recorded_at"].clone();
    let manifest = &mut segments[1].manifest;
    (manifest["first"], manifest["count"], manifest["first_recorded_at"]) = (json!(4), json!(5), at);
    segments[1].lines.insert(0, line);
}

/// Holds: bin.archive-damage
#[tokio::test]
async fn every_kind_of_damage_is_named_with_the_object_and_the_position() {
    let whole = Whole::make().await;
    let sound = Checked { manifests: 3, last: EVENTS, unused_segments: 0 };
    assert_eq!(check_files(&whole.files).await.expect("whole"), sound);
    assert_eq!(check_files(&whole.with_segments(|_| ())).await.expect("forged without a change"), sound);
    let cases = cases(&whole);
    assert!(cases.len() >= 50, "{}", cases.len());
    let mut words = std::collections::BTreeSet::new();
    for (number, (files, word, part, (object, position))) in cases.into_iter().enumerate() {
        let damage = check_files(&files).await.expect_err(word);
        assert_eq!(damage.kind.word(), word, "{number}: {damage}");
        assert!(damage.to_string().contains(part), "{number}: {damage}");
        assert_eq!((&damage.object, damage.position), (&object.name_in(&files), position), "{number}: {damage}");
        words.insert(word);
    }
    assert!(words.len() >= 30, "{words:?}");
}

/// An archiver that was not the first, or was stopped, leaves a segment without a manifest, and no damage. One after the last
/// position may get its manifest at any moment, and what is not called like a segment is somebody else's.
#[tokio::test]
async fn a_segment_that_no_manifest_names_is_counted_once_the_archive_has_its_positions() {
    let whole = Whole::make().await;
    let mut files = whole.files.clone();
    files.remove(&whole.manifest_name(2));
    let checked = check_files(&files).await.expect("sound");
    assert_eq!(checked, Checked { manifests: 2, last: 8, unused_segments: 0 });
    files.insert("archive/v1/segments/notes.txt".to_owned(), b"by hand".to_vec());
    let other = "archive/v1/segments/00000000000000000005-00000000000000000006-0123456789abcdef.jsonl.gz";
    files.insert(other.to_owned(), b"half".to_vec());
    let checked = check_files(&files).await.expect("sound");
    assert_eq!(checked, Checked { manifests: 2, last: 8, unused_segments: 1 });
}

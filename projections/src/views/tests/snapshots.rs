//! Snapshots: a replay that begins with one has the same rows as one that begins with the first event, and one that cannot be
//! trusted is never used.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::event::Recorded;
use events::hex;
use events::time::parse_rfc3339;
use events_log::{LEDGER_FILE, open_reader};
use ring::digest::{SHA256, digest};
use rusqlite::Connection;

use super::facts::Story;
use super::replayed::{AS_OF, VERSION, replayed_from, rows_of_views};
use super::{compared, dump, views_of};
use crate::views::replay::ReplayRequest;
use crate::views::replay_error::ReplayError;
use crate::views::snapshot_maker::make;
use crate::views::snapshots::{Snapshot, Unusable, clean, in_folder};

/// A ledger of these facts, and a folder for its snapshots.
struct Kept {
    ledger: tempfile::TempDir,
    folder: tempfile::TempDir,
    facts: Vec<Arc<Recorded>>,
}

impl Kept {
    fn of(facts: Vec<Arc<Recorded>>, positions: &[u64]) -> Self {
        let (ledger, folder) = (compared::folder_of(&facts), tempfile::tempdir().expect("a folder"));
        let kept = Self { ledger, folder, facts };
        positions.iter().for_each(|position| drop(kept.add(*position).expect("a snapshot")));
        kept
    }

    fn add(&self, position: u64) -> Result<Snapshot, ReplayError> {
        let reader = open_reader(&self.ledger.path().join(LEDGER_FILE)).expect("the ledger opens");
        let made_at = parse_rfc3339("2026-11-24T00:00:00Z").expect("a time");
        let snapshots: [&Path; 1] = [self.folder.path()];
        let request = ReplayRequest { position, as_of: AS_OF, version: VERSION, made_at, snapshots: &snapshots };
        make(self.folder.path(), &*reader, &request, &mut |_, _| ControlFlow::Continue(())).map(|(made, _)| made)
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        in_folder(self.folder.path()).expect("a folder")
    }

    fn positions(&self) -> Vec<u64> {
        self.snapshots().iter().map(|snapshot| snapshot.position).collect()
    }

    fn file_of(&self, position: u64) -> PathBuf {
        let found = self.snapshots().into_iter().find(|snapshot| snapshot.position == position);
        found.expect("a snapshot").path
    }

    /// Replays, which must have the right rows. Returns where it began, and why nearer snapshots were passed over.
    fn replay(&self, position: u64) -> (u64, Vec<String>) {
        let (file, made) = replayed_from(self.ledger.path(), position, &[self.folder.path()]);
        let made = made.expect("it is built");
        let facts = &self.facts[..usize::try_from(position).expect("a position")];
        assert!(rows_of_views(file.path()) == dump(views_of(facts, 3).path()), "as of position {position}");
        assert_eq!(made.recorded_at, facts.last().map(|last| last.recorded_at));
        (made.began_at, made.passed_over.iter().map(|passed_over| passed_over.reason.to_string()).collect())
    }

    /// Gives a file the name that its content has by now.
    fn rename(&self, position: u64) {
        let file = self.file_of(position);
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let content = digest(&SHA256, &fs::read(&file).expect("the snapshot"));
        let (before, _) = name.rsplit_once('-').expect("a name of parts");
        let name = format!("{before}-{}.sqlite", hex::lower(content.as_ref()));
        fs::rename(&file, self.folder.path().join(name)).expect("another name");
    }
}

/// Holds: bin.snapshots
#[test]
fn a_replay_from_any_snapshot_on_has_the_rows_of_one_from_the_first_event_on() {
    let facts = Story::whole();
    let head = facts.len() as u64;
    for snapshot in (1..=head).step_by(7).chain([head]) {
        let kept = Kept::of(facts.clone(), &[snapshot]);
        for position in [snapshot - 1, snapshot, snapshot + 1, head].into_iter().filter(|position| *position <= head) {
            let began_at = if position < snapshot { 0 } else { snapshot };
            assert_eq!(kept.replay(position), (began_at, Vec::new()), "as of position {position}");
        }
    }
}

/// Holds: bin.snapshots
#[test]
fn the_nearest_one_is_used_and_each_is_made_from_the_one_before() {
    let kept = Kept::of(Story::whole(), &[4, 9, 14]);
    assert_eq!(kept.positions(), [4, 9, 14]);
    for (position, began_at) in [(3, 0), (4, 4), (8, 4), (9, 9), (13, 9), (20, 14)] {
        assert_eq!(kept.replay(position), (began_at, Vec::new()), "as of position {position}");
    }
    let kept_of_the_facts = |positions: &[u64]| {
        let kept = Kept::of(Story::whole(), positions);
        rows_of_snapshot(&kept.file_of(14))
    };
    assert_eq!(kept_of_the_facts(&[4, 9, 14]), kept_of_the_facts(&[14]));
}

fn rows_of_snapshot(file: &Path) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(file, dir.path().join(crate::views::VIEWS_FILE)).expect("a copy");
    rows_of_views(dir.path())
}

/// Holds: bin.snapshots
#[test]
fn one_that_is_damaged_foreign_or_of_another_version_is_passed_over() {
    let damaged = Unusable::Damaged.to_string();
    for damage in [
        |bytes: &mut Vec<u8>| bytes[5000] ^= 1,
        |bytes: &mut Vec<u8>| bytes.truncate(4096),
        |bytes: &mut Vec<u8>| bytes.clear(),
        |bytes: &mut Vec<u8>| bytes.push(0),
    ] {
        let kept = Kept::of(Story::whole(), &[4, 9]);
        let mut bytes = fs::read(kept.file_of(9)).expect("the snapshot");
        damage(&mut bytes);
        fs::write(kept.file_of(9), bytes).expect("the damage is done");
        assert_eq!(kept.replay(12), (4, vec![damaged.clone()]));
        fs::write(kept.file_of(4), "nothing").expect("the damage is done");
        assert_eq!(kept.replay(12), (0, vec![damaged.clone(), damaged.clone()]));
    }

    let kept = Kept::of(Story::whole(), &[4, 9]);
    let views = Connection::open(kept.file_of(9)).expect("the snapshot");
    views
        .execute("UPDATE rows_projections SET version = version + 1 WHERE name = 'audit'", [])
        .expect("another version");
    drop(views);
    kept.rename(9);
    assert_eq!(kept.replay(12), (4, vec![Unusable::OtherVersion.to_string()]));

    // A log that goes another way from its sixth event on.
    let kept = Kept::of(Story::whole(), &[4, 9]);
    let mut facts = kept.facts.clone();
    for fact in &mut facts[5..] {
        let mut other = Recorded::clone(fact);
        other.recorded_at += std::time::Duration::from_micros(1);
        *fact = Arc::new(other);
    }
    let other = Kept { ledger: compared::folder_of(&facts), folder: kept.folder, facts };
    assert_eq!(other.replay(12), (4, vec![Unusable::OtherLog.to_string()]));
}

#[test]
fn what_is_of_no_use_is_deleted_and_other_files_are_left_alone() {
    let kept = Kept::of(Story::whole(), &[4, 9, 14]);
    let views = Connection::open(kept.file_of(9)).expect("the snapshot");
    views
        .execute("UPDATE rows_projections SET version = version + 1 WHERE name = 'audit'", [])
        .expect("another version");
    drop(views);
    kept.rename(9);
    for name in ["partial-20.sqlite", "notes.txt", "5-00-00.sqlite"] {
        fs::write(kept.folder.path().join(name), name).expect("a file");
    }
    let shorter = compared::folder_of(&kept.facts[..10]);
    let reader = open_reader(&shorter.path().join(LEDGER_FILE)).expect("the ledger opens");
    clean(kept.folder.path(), &*reader).expect("it is cleaned");
    assert_eq!(kept.positions(), [4], "the log does not go to 14");
    let has = |name: &str| kept.folder.path().join(name).exists();
    assert!(!has("partial-20.sqlite") && has("notes.txt") && has("5-00-00.sqlite"));
}

#[test]
fn one_that_cannot_be_made_leaves_nothing() {
    let kept = Kept::of(Story::whole(), &[]);
    let beyond = kept.facts.len() as u64 + 1;
    assert!(matches!(kept.add(beyond), Err(ReplayError::Incomplete { .. })));
    let files = fs::read_dir(kept.folder.path()).expect("a folder").count();
    assert_eq!(files, 0);
}

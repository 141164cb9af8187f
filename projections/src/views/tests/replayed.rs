//! Views as of an earlier position: a file of their own has the rows that a store has which stopped there.

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::time::{parse_rfc3339, rfc3339};
use events_log::{LEDGER_FILE, open_reader};

use super::facts::Story;
use super::{all_projectors, compared, dump, open, rows, views_of};
use crate::views::log_pages::EVENTS_MAX;
use crate::views::replay::{ReplayRequest, Replayed, replay};
use crate::views::replay_error::ReplayError;
use crate::views::store::{Compatibility, VIEWS_FILE};
use crate::views::{Checkpoint, View};

pub const AS_OF: &str = "2026-11-20T08:59:55Z";
pub const VERSION: &str = "1.2.3";

/// Builds the views of a ledger as of a position. The file has the name that the other tests read.
fn replayed(ledger: &Path, position: u64) -> (tempfile::TempDir, Result<Replayed, ReplayError>) {
    replayed_from(ledger, position, &[])
}

/// The same with the snapshots of these folders.
pub fn replayed_from(
    ledger: &Path,
    position: u64,
    snapshots: &[&Path],
) -> (tempfile::TempDir, Result<Replayed, ReplayError>) {
    let dir = tempfile::tempdir().expect("a folder");
    let reader = open_reader(&ledger.join(LEDGER_FILE)).expect("the ledger opens");
    let made_at = parse_rfc3339("2026-11-24T00:00:00Z").expect("a time");
    let request = ReplayRequest { position, as_of: AS_OF, version: VERSION, made_at, snapshots };
    let mut seen = Vec::new();
    let made = replay(&dir.path().join(VIEWS_FILE), &*reader, &request, &mut |reached, last| {
        assert_eq!(last, position);
        seen.push(reached);
        ControlFlow::Continue(())
    });
    assert!(seen.is_sorted() && seen.iter().all(|reached| *reached <= position), "{seen:?}");
    if made.as_ref().is_ok_and(|made| made.began_at < position) {
        assert_eq!(seen.last().copied().unwrap_or(0), position, "progress ends at the end");
    }
    (dir, made)
}

/// All rows but that of the table `replay`.
pub fn rows_of_views(dir: &Path) -> Vec<String> {
    dump(dir).into_iter().filter(|row| !row.starts_with("replay: ")).collect()
}

fn must_be_as_if_stopped(ledger: &Path, facts: &[Arc<Recorded>], position: usize, batch: usize) {
    let facts = facts.get(..position).expect("facts");
    let (file, made) = replayed(ledger, position.try_into().expect("a position"));
    let made = made.expect("it is built");
    let stopped = dump(views_of(facts, batch).path());
    assert!(rows_of_views(file.path()) == stopped, "as of position {position}");
    let of_checkpoints = stopped.iter().filter(|row| row.starts_with("rows_projections: ")).count();
    assert_eq!(made.rows, (stopped.len() - of_checkpoints) as u64);
    assert_eq!(made.recorded_at, facts.last().map(|last| last.recorded_at));
}

/// Holds: bin.replay
#[test]
fn the_views_as_of_any_position_have_the_rows_of_a_store_that_stopped_there() {
    let facts = Story::whole();
    let ledger = compared::folder_of(&facts);
    for position in 0..=facts.len() {
        must_be_as_if_stopped(ledger.path(), &facts, position, 3);
    }
}

/// Holds: bin.replay
#[test]
fn a_position_in_the_middle_of_a_page_ends_the_views_there() {
    let facts = Story::of_requests(1100);
    assert!(facts.len() > EVENTS_MAX + 100);
    let ledger = compared::folder_of(&facts);
    for position in [EVENTS_MAX / 2, EVENTS_MAX - 1, EVENTS_MAX, EVENTS_MAX + 1, facts.len() - 7, facts.len()] {
        must_be_as_if_stopped(ledger.path(), &facts, position, 1000);
    }
}

#[test]
fn the_file_says_what_it_is_and_is_one_private_file_that_can_be_read_anywhere() {
    let facts = Story::whole();
    let ledger = compared::folder_of(&facts);
    let (file, made) = replayed(ledger.path(), 9);
    let recorded_at = rfc3339(made.expect("it is built").recorded_at.expect("a time"));
    let said = rows(file.path(), "SELECT position, recorded_at, as_of, version, made_at FROM replay");
    assert_eq!(said, [format!("9|{recorded_at}|{AS_OF}|{VERSION}|2026-11-24T00:00:00.000000Z")]);
    assert_eq!(rows(file.path(), "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(rows(file.path(), "PRAGMA journal_mode"), ["delete"]);
    let names: Vec<_> = std::fs::read_dir(file.path()).expect("a folder").flatten().map(|it| it.file_name()).collect();
    assert_eq!(names, [VIEWS_FILE], "nothing is beside it");
    let mode = std::fs::metadata(file.path().join(VIEWS_FILE)).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (empty, made) = replayed(ledger.path(), 0);
    let made = made.expect("it is built");
    assert_eq!((made.recorded_at, made.rows, made.began_at), (None, 0, 0));
    assert_eq!(rows(empty.path(), "SELECT position, recorded_at FROM replay"), ["0|-"]);
}

/// The views go on from it as from their own file.
#[test]
fn what_was_recorded_later_can_be_applied_to_it() {
    let facts = Story::whole();
    let ledger = compared::folder_of(&facts);
    let (file, made) = replayed(ledger.path(), 9);
    made.expect("it is built");
    let mut store = open(file.path(), all_projectors());
    for view in View::ALL {
        assert_eq!(store.compatibility(*view), Compatibility::Current);
        let Checkpoint { position, error, .. } = store.checkpoint(*view).expect("a checkpoint");
        assert_eq!((position, error), (9, None));
    }
    store.apply(&facts[9..]).expect("a batch is applied");
    drop(store);
    assert_eq!(rows_of_views(file.path()), dump(views_of(&facts, 5).path()));
}

#[test]
fn views_that_cannot_be_built_so_far_are_refused() {
    let facts = Story::whole();
    let ledger = compared::folder_of(&facts);
    let head = facts.len() as u64;
    let (_, made) = replayed(ledger.path(), head + 1);
    let why = made.expect_err("the log ends before").to_string();
    assert_eq!(why, format!("budgets cannot be built up to position {}: the log ends at position {head}", head + 1));
}

//! The archiver of a running gateway.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use archive::role::ArchiveOutlet;
use archive::{Archive, SegmentLimits, Segments};
use events::event::Recorded;
use events_log::Log;
use events_log::role::{Role, RoleState, RoleStatus};
use object_storage::{Open, OpenError};
use outlets::AnyOutlet;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::archiving::names;
use crate::damage::check;
use crate::story::{Ledger, in_folder};

/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Nothing is sealed for its age while a test runs, unless it is old already.
const LIMITS: SegmentLimits = SegmentLimits { events_max: 50_000, age_max: Duration::from_secs(300) };

/// A role at work on a ledger.
struct Running {
    log: Log,
    status: RoleStatus,
    _task: JoinSet<()>,
}

impl Running {
    fn start(ledger: &Ledger, open: Open<Archive>, limits: SegmentLimits) -> Self {
        let (log, status, clock) = (ledger.open(), RoleStatus::new(Role::Archive), ledger.clock.clone());
        let mut task = JoinSet::new();
        task.spawn(AnyOutlet::from(ArchiveOutlet::new(open, limits)).run(log.clone(), status.clone(), clock));
        Self { log, status, _task: task }
    }

    async fn reaches(&self, position: u64) {
        self.until(|| self.status.read().position >= position).await;
    }

    /// Waits for a failure, and returns why.
    async fn fails(&self) -> String {
        self.until(|| matches!(self.status.read().state, RoleState::Failing { .. })).await;
        match self.status.read().state {
            RoleState::Failing { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(WAIT_MAX, wait).await.is_ok(), "{:?}", self.status.read());
    }
}

fn opened(archive: &Archive) -> Open<Archive> {
    let archive = archive.clone();
    Arc::new(move || Ok(archive.clone()))
}

async fn events_of(archive: &Archive) -> Vec<Recorded> {
    let (mut segments, mut events) = (Segments::all(archive).await.expect("readable"), Vec::new());
    while let Some(mut segment) = segments.next().await.expect("sound") {
        events.extend(segment.page(usize::MAX).expect("sound"));
    }
    events
}

/// Two databases with the same beginning, as after a copy of one was served by mistake: both are the archive's at the start.
/// Holds: bin.archive-one-ledger
#[tokio::test(flavor = "multi_thread")]
async fn of_two_forks_of_a_ledger_one_is_archived_and_the_other_one_stops() {
    let (ledger, folder) = (Ledger::with_events(4).await, TempDir::new().expect("a folder"));
    let (fork, archive) = (ledger.fork(), in_folder(folder.path()));
    let limits = SegmentLimits { events_max: 2, ..LIMITS };
    let (one, other) =
        (Running::start(&ledger, opened(&archive), limits), Running::start(&fork, opened(&archive), limits));
    one.reaches(4).await;
    other.reaches(4).await;
    ledger.record_in(&one.log, 2).await;
    one.reaches(6).await;
    fork.record_in(&other.log, 2).await;
    let why = other.fails().await;
    assert!(why.contains("another ledger") && why.contains("position 6"), "{why}");
    fork.record_in(&other.log, 4).await;
    ledger.record_in(&one.log, 2).await;
    one.reaches(8).await;
    assert_eq!(check(&archive).await.expect("sound").last, 8);
    assert_eq!(events_of(&archive).await, ledger.reader().after(0, 100).expect("its events"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_have_waited_since_before_a_start_are_sealed_at_once_and_in_whole_segments() {
    let (ledger, folder) = (Ledger::with_events(3).await, TempDir::new().expect("a folder"));
    // More than are read at a time.
    ledger.record_at_once(2500).await;
    ledger.clock.advance(LIMITS.age_max);
    let archive = in_folder(folder.path());
    let running = Running::start(&ledger, opened(&archive), LIMITS);
    running.reaches(2503).await;
    assert_eq!(names(folder.path(), "manifests").len(), 1);
    assert_eq!(check(&archive).await.expect("sound").last, 2503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_cannot_be_opened_is_opened_later() {
    let (ledger, folder) = (Ledger::with_events(2).await, TempDir::new().expect("a folder"));
    let (archive, attempts) = (in_folder(folder.path()), Arc::new(AtomicUsize::new(0)));
    let (counted, there) = (attempts.clone(), archive.clone());
    let open: Open<Archive> = Arc::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
        0..3 => Err(OpenError::Folder { folder: "/mnt".to_owned(), reason: "not mounted".to_owned() }),
        _ => Ok(there.clone()),
    });
    let running = Running::start(&ledger, open, SegmentLimits { events_max: 2, ..LIMITS });
    assert!(running.fails().await.contains("not mounted"));
    running.reaches(2).await;
    assert_eq!((attempts.load(Ordering::SeqCst), running.status.read().state), (4, RoleState::Working));
}

/// An attempt that hangs keeps a thread: there is no second one beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_does_not_answer_when_it_is_opened_is_waited_for() {
    let (ledger, folder) = (Ledger::with_events(2).await, TempDir::new().expect("a folder"));
    let (archive, attempts, (answer, answered)) =
        (in_folder(folder.path()), Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let (counted, there, answered) = (attempts.clone(), archive.clone(), Mutex::new(answered));
    let open: Open<Archive> = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        answered.lock().expect("a lock").recv().expect("an answer");
        Ok(there.clone())
    });
    let running = Running::start(&ledger, open, SegmentLimits { events_max: 2, ..LIMITS });
    let why = running.fails().await;
    assert!(why.contains("does not answer"), "{why}");
    answer.send(()).expect("the role waits");
    running.reaches(2).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

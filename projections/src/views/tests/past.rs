//! The thread that builds the views as of earlier positions, with a real log.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::concurrency::Requester;
use events::ids::{KeyId, TenantId};
use events::log::{Log, LogOptions};
use events::time::{Clock, ManualClock};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::compared;
use super::facts::{Story, id, start as noon};
use crate::views::past::{self, PAST_FOLDER, PastViewsHandle, PastViewsThread};
use crate::views::{PastError, VIEWS_FILE};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The behaviour of a build when it asks for the time of day, as each does once, before it reads the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    GoesOn,
    Panics,
}

/// A clock that lets builds begin one by one.
struct Gate {
    clock: ManualClock,
    builds: Mutex<Builds>,
    changed: Condvar,
}

#[derive(Default)]
struct Builds {
    allowed: Vec<Build>,
    begun: usize,
}

impl Gate {
    fn allow(&self, build: Build) {
        self.builds.lock().expect("the gate").allowed.push(build);
        self.changed.notify_all();
    }

    /// Builds that have begun, or wait at the gate.
    fn begun(&self) -> usize {
        self.builds.lock().expect("the gate").begun
    }

    async fn has_begun(&self, builds: usize) {
        while self.begun() < builds {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Clock for Gate {
    fn now(&self) -> DateTime<Utc> {
        let mut builds = self.builds.lock().expect("the gate");
        let number = builds.begun;
        builds.begun += 1;
        let closed = |builds: &mut Builds| builds.allowed.len() <= number;
        let (builds, waited) = self.changed.wait_timeout_while(builds, PATIENCE, closed).expect("the gate");
        let build = builds.allowed.get(number).copied();
        drop(builds);
        assert!(!waited.timed_out() && build == Some(Build::GoesOn), "this build panics");
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// A log, and what builds its earlier views.
struct World {
    gate: Arc<Gate>,
    past: PastViewsHandle,
    thread: PastViewsThread,
    log: Log,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = compared::folder_of(&Story::whole());
        fs::write(folder.path().join(VIEWS_FILE), "").expect("the newest views");
        let clock = Arc::new(ManualClock::at(noon() + MINUTE));
        let log = Log::open(folder.path(), LogOptions::new(clock)).expect("the log opens");
        let clock = ManualClock::at(noon() + MINUTE);
        let gate = Arc::new(Gate { clock, builds: Mutex::default(), changed: Condvar::new() });
        let (past, thread) = past::start(&log, folder.path(), gate.clone(), "1.2.3").expect("the thread starts");
        Self { gate, past, thread, log, folder }
    }

    fn asks(&self, position: u64, requester: Requester) -> JoinHandle<Option<PastError>> {
        let past = self.past.clone();
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        tokio::spawn(async move { past.at(position, requester).await.err() })
    }

    /// Asks for a position, whose build is let through.
    async fn builds(&self, position: u64, requester: Requester) {
        self.gate.allow(Build::GoesOn);
        assert_eq!(self.asks(position, requester).await.expect("an answer"), None, "{position}");
    }

    /// The positions of the files that there are.
    fn kept(&self) -> BTreeSet<u64> {
        let files = fs::read_dir(self.folder.path().join(PAST_FOLDER)).expect("the folder");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        names.map(|name| name.split('-').next().and_then(|first| first.parse().ok()).expect("a position")).collect()
    }

    async fn close(self) {
        let Self { thread, log, .. } = self;
        let stop = move || {
            thread.stop();
            log.close();
        };
        tokio::task::spawn_blocking(stop).await.expect("stopped");
    }
}

fn tenant(number: u128) -> Requester {
    Requester::TenantKey { key: id::<KeyId>(number), tenant: id::<TenantId>(number) }
}

/// Holds: query.as-of
#[tokio::test]
async fn the_platform_comes_first_and_then_whoever_was_served_least_recently() {
    let world = World::new();
    world.builds(1, tenant(1)).await;
    let mut waiting = Vec::new();
    let asked = [(2, tenant(1)), (3, tenant(1)), (4, tenant(2)), (5, Requester::Operator)];
    for (number, (position, requester)) in asked.into_iter().enumerate() {
        waiting.push((position, world.asks(position, requester)));
        if number == 0 {
            world.gate.has_begun(2).await;
        }
        tokio::task::yield_now().await;
    }
    for expected in [2, 5, 4, 3] {
        world.gate.allow(Build::GoesOn);
        let index = waiting.iter().position(|(position, _)| *position == expected).expect("it waits");
        let (_, answer) = waiting.remove(index);
        assert_eq!(answer.await.expect("an answer"), None, "{expected}");
        assert!(waiting.iter().all(|(_, answer)| !answer.is_finished()), "others before {expected}");
    }
    world.close().await;
}

/// Holds: query.as-of
#[tokio::test]
async fn a_tenants_files_push_out_its_own() {
    let world = World::new();
    world.builds(1, Requester::Operator).await;
    world.builds(2, tenant(2)).await;
    for position in 3..8 {
        world.builds(position, tenant(1)).await;
    }
    assert_eq!(world.kept(), BTreeSet::from([1, 2, 6, 7]));
    world.close().await;
}

/// Holds: query.as-of
#[tokio::test]
async fn a_build_that_panics_fails_alone_and_is_not_tried_again_for_a_minute() {
    let world = World::new();
    for _ in 0..3 {
        world.gate.allow(Build::Panics);
        let answer = world.asks(7, Requester::Operator).await.expect("an answer");
        assert!(matches!(answer, Some(PastError::Failed { position: 7, .. })), "{answer:?}");
        assert_eq!(world.gate.begun(), 1);
        world.gate.builds.lock().expect("the gate").allowed.truncate(1);
    }
    world.builds(8, Requester::Operator).await;
    world.gate.clock.advance(MINUTE);
    world.builds(7, Requester::Operator).await;
    assert_eq!((world.kept(), world.gate.begun()), (BTreeSet::from([7, 8]), 3));
    world.close().await;
}

/// Holds: query.as-of
#[tokio::test]
async fn no_file_is_dropped_for_one_that_has_no_room_all_the_same() {
    let world = World::new();
    world.builds(1, Requester::Operator).await;
    world.builds(2, tenant(1)).await;
    // Few disks have so much room. The file takes none of it.
    let newest = fs::File::options().write(true).open(world.folder.path().join(VIEWS_FILE)).expect("the newest views");
    newest.set_len(1 << 43).expect("a sparse file");
    let answer = world.asks(3, Requester::Operator).await.expect("an answer");
    assert!(matches!(answer, Some(PastError::DiskNearlyFull { position: 3, .. })), "{answer:?}");
    assert_eq!(world.kept(), BTreeSet::from([1, 2]));
    newest.set_len(0).expect("a small file");
    world.builds(3, Requester::Operator).await;
    world.close().await;
}

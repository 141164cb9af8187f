//! Logs for outlets, and an outlet that does what a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use events::event::access::{Access, AccessDenied};
use events::event::{Actor, Context, Stream, StreamKind};
use events::refusal::ErrorCode;
use events::time::SystemClock;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleStatus};
use events_log::{Log, LogOptions, Note};
use outlets::{AnyOutlet, LeasedRole, Outlet};
use tempfile::TempDir;
use testing::postgres::TestDatabase;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

/// Longer than anything takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// Longer than it takes another process to get a role that was given up.
pub const LONG_PAUSE: Duration = Duration::from_secs(4);

pub fn options() -> LogOptions {
    LogOptions::new(Arc::new(SystemClock::new()))
}

pub fn in_folder() -> (TempDir, Log) {
    let folder = TempDir::new().expect("a folder");
    let log = block_in_place(|| Log::open(folder.path(), options()).expect("a log"));
    (folder, log)
}

pub fn migrated() -> TestDatabase {
    let database = TestDatabase::create();
    block_in_place(|| Log::migrate_shared(&database.url().parse().expect("an address")).expect("an empty database"));
    database
}

pub fn node(database: &TestDatabase, name: &str) -> Log {
    let address = database.gateway_url().parse().expect("an address");
    block_in_place(|| Log::open_shared(&address, name, options()).expect("a ledger"))
}

/// Records events in one batch; returns the position of the last one.
pub async fn record(log: &Log, events: u64) -> u64 {
    let note = |number: u64| Note {
        stream: Stream::new(StreamKind::Access, "anonymous"),
        context: Context::of(Actor::System("gateway")),
        event: Access::Denied(Box::new(AccessDenied { code: ErrorCode::Unauthenticated, count: number + 1 })).into(),
    };
    log.note((0..events).map(note).collect()).await.expect("recorded");
    log.head().position
}

/// The behaviour of an outlet in a test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    CannotOpen,
    Fails,
    /// Works until it is dropped.
    Works,
    EndsWithTheLog,
}

/// How often an outlet was at which point.
#[derive(Default)]
pub struct Counts {
    pub opened: AtomicUsize,
    pub begun: AtomicUsize,
    pub dropped: AtomicUsize,
}

pub struct TestOutlet {
    pub behaviour: Behaviour,
    pub counts: Arc<Counts>,
}

struct CountDrop<'a>(&'a AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Outlet for TestOutlet {
    const ROLE: Role = Role::Alerts;
    const PAUSES: Backoff = Backoff::new(LONG_PAUSE, LONG_PAUSE);
    type Error = &'static str;

    async fn open(&mut self) -> Result<(), Self::Error> {
        self.counts.opened.fetch_add(1, Ordering::SeqCst);
        if self.behaviour == Behaviour::CannotOpen { Err("no place") } else { Ok(()) }
    }

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), Self::Error> {
        self.counts.begun.fetch_add(1, Ordering::SeqCst);
        let _dropped = CountDrop(&self.counts.dropped);
        if self.behaviour == Behaviour::Fails {
            return Err("no webhook");
        }
        role.succeeded(role.log.head().position);
        let mut follower = role.log.follow_from_now(10);
        while self.behaviour == Behaviour::Works || follower.next().await.is_ok_and(|followed| followed.is_some()) {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// An outlet that runs until it is dropped.
pub struct Running {
    pub status: RoleStatus,
    pub counts: Arc<Counts>,
    pub task: JoinSet<()>,
}

impl Running {
    pub fn start(log: &Log, behaviour: Behaviour) -> Self {
        let (status, counts, mut task) = (RoleStatus::new(Role::Alerts), Arc::<Counts>::default(), JoinSet::new());
        let outlet = TestOutlet { behaviour, counts: Arc::clone(&counts) };
        task.spawn(AnyOutlet::of(outlet).run(log.clone(), status.clone(), Arc::new(SystemClock::new())));
        Self { status, counts, task }
    }
}

/// Waits until it is so.
#[track_caller]
pub fn soon(is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let (began, caller) = (Instant::now(), std::panic::Location::caller());
    async move {
        while !is_so() {
            assert!(began.elapsed() < SOON, "{caller}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

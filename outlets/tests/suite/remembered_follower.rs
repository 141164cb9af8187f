//! Following the log from one process to the next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::time::SystemClock;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory, RoleStatus};
use events_log::{Log, LogError};
use outlets::{AnyOutlet, LeasedRole, Outlet, RememberedFollower};
use tokio::task::JoinSet;

use crate::world::{in_folder, record, soon};

const PAUSE: Duration = Duration::from_millis(10);

/// Writes down the positions that it gets, and remembers some at once.
struct Positions {
    got: Arc<Mutex<Vec<u64>>>,
    remembers: fn(u64) -> bool,
}

impl Outlet for Positions {
    const ROLE: Role = Role::AuditWebhook;
    const PAUSES: Backoff = Backoff::new(PAUSE, PAUSE);
    type Error = LogError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), LogError> {
        let mut follower = RememberedFollower::begin(role, 2).await?;
        while let Some(followed) = follower.next(role).await? {
            for recorded in followed.events() {
                self.got.lock().expect("no panic").push(recorded.position);
                if (self.remembers)(recorded.position) {
                    let detail = "at once".to_owned();
                    follower.remember(role, RoleMemory { position: recorded.position, detail }).await?;
                }
            }
            role.succeeded(follower.position());
        }
        Ok(())
    }
}

/// Runs an outlet until it has come to a position; returns what it got.
async fn follow(log: &Log, remembers: fn(u64) -> bool, position: u64) -> Vec<u64> {
    let (got, status, mut task) =
        (Arc::<Mutex<Vec<u64>>>::default(), RoleStatus::new(Role::AuditWebhook), JoinSet::new());
    let outlet = Positions { got: Arc::clone(&got), remembers };
    task.spawn(AnyOutlet::of(outlet).run(log.clone(), status.clone(), Arc::new(SystemClock::new())));
    soon(|| status.read().position >= position).await;
    task.shutdown().await;
    Arc::into_inner(got).expect("it was dropped").into_inner().expect("no panic")
}

async fn memory(log: &Log) -> Option<RoleMemory> {
    log.lease(&RoleStatus::new(Role::AuditWebhook)).wait().await.memory().await.expect("it is read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_receiver_gets_what_comes_after_it_and_the_next_process_goes_on_there() {
    let (_folder, log) = in_folder();
    let head = record(&log, 3).await;
    assert_eq!(follow(&log, |_| false, head).await, [] as [u64; 0]);
    assert_eq!(memory(&log).await, Some(RoleMemory { position: head, detail: String::new() }));
    let end = record(&log, 4).await;
    assert_eq!(follow(&log, |position| position % 2 == 0, end).await, (head + 1..=end).collect::<Vec<_>>());
    let remembered = memory(&log).await.expect("a memory");
    assert!((head + 1..=end).contains(&remembered.position), "{remembered:?}");
    assert_eq!(remembered.detail, "at once");
    let last = record(&log, 1).await;
    let got = follow(&log, |_| true, last).await;
    let first = *got.first().expect("an event");
    // What it was about to remember when it was dropped may still have been written.
    assert!((remembered.position + 1..=end + 1).contains(&first), "{first} after {remembered:?}");
    assert_eq!(got, (first..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passed_is_remembered_from_time_to_time_although_nothing_was_delivered() {
    let (_folder, log) = in_folder();
    let head = record(&log, 1).await;
    follow(&log, |_| false, head).await;
    let end = record(&log, 3).await;
    let (outlet, mut task) = (Positions { got: Arc::default(), remembers: |_| false }, JoinSet::new());
    let status = RoleStatus::new(Role::AuditWebhook);
    task.spawn(AnyOutlet::of(outlet).run(log.clone(), status.clone(), Arc::new(SystemClock::new())));
    soon(|| status.read().position >= end).await;
    for _ in 0..100 {
        if memory(&log).await.is_some_and(|memory| memory.position == end) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} of {end}", memory(&log).await);
}

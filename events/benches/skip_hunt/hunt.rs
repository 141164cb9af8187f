//! The hunt: writers on several nodes of one database, readers beside them, and whatever could make a reader skip an event:
//! transactions that are rolled back at the place of the next batch, backends that are killed, and a session that idles in a
//! transaction from the beginning to the end.

// Two targets compile this file: the benchmark and `tests/suite/skip_hunt.rs`. The paths hold for both.
#[path = "hunt/disturb.rs"]
mod disturb;
#[path = "hunt/follow.rs"]
mod follow;
#[path = "../ledger/request.rs"]
mod request;
#[path = "hunt/write.rs"]
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::ids::{IdMaker, RequestId, SystemRandom};
use events::log::{DatabaseAddress, Log, LogOptions, open_shared_reader};
use events::time::SystemClock;
use events::verify::{Depth, verify};
use testing::postgres::TestDatabase;

use disturb::Disturbances;
use follow::{Behind, ReaderProgress, Watch};
use write::Written;

/// How long the readers may take to the end of the log once nobody writes any more, and the nodes to end what is open.
const END_MAX: Duration = Duration::from_secs(60);

/// The size of a hunt.
#[derive(Clone, Copy)]
pub struct Hunt {
    pub events: u64,
    pub nodes: usize,
    pub writers: usize,
    /// Besides a follower of each node.
    pub plain_readers: usize,
    pub seed: u64,
    /// The shortest time between two disturbances. The longest is twice as long.
    pub disturbed_every: Duration,
}

/// The result of a hunt that found nothing wrong; a hunt that finds an error panics instead.
pub struct HuntResult {
    pub events: u64,
    pub took: Duration,
    pub kills: u64,
    pub rollbacks: u64,
    /// Callers that were told of an error.
    pub errors: u64,
    pub behind: Behind,
    /// The waits of those who appended the first tenth of the log, and the last.
    pub first_waits: Vec<Duration>,
    pub last_waits: Vec<Duration>,
}

/// The state that the parts of a hunt share.
pub(crate) struct HuntState {
    database: DatabaseAddress,
    /// The last position that somebody was told of.
    acknowledged: AtomicU64,
    /// Where the log ends; 0 until nobody writes any more.
    end: AtomicU64,
    /// Somebody has found something.
    is_over: AtomicBool,
}

/// Blocking.
///
/// # Panics
///
/// If an event was skipped, doubled or moved, a reader does not reach the end, or the log is not sound.
pub fn hunt(database: &TestDatabase, hunt: Hunt) -> HuntResult {
    let address: DatabaseAddress = database.url().parse().expect("an address");
    Log::migrate_shared(&address).expect("an empty database");
    let clock = Arc::new(SystemClock::new());
    let ids = IdMaker::new(clock.clone(), Arc::new(SystemRandom));
    let open = |number| Log::open_shared(&address, &format!("node-{number}"), LogOptions::new(clock.clone()));
    let nodes: Vec<Log> = (0..hunt.nodes).map(|number| open(number).expect("the log opens")).collect();
    let state = HuntState { database: address.clone(), acknowledged: 0.into(), end: 0.into(), is_over: false.into() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let readers: Vec<_> = (0..hunt.nodes + hunt.plain_readers).map(|_| ReaderProgress::default()).collect();
    let disturbances = Disturbances::default();
    let (written, took, watched) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = OverOnPanic(&state);
            disturbances.idle_in_transaction(database, &state);
        });
        scope.spawn(|| {
            let _guard = OverOnPanic(&state);
            disturbances.roll_back(database, &state);
        });
        scope.spawn(|| {
            let _guard = OverOnPanic(&state);
            disturbances.kill(database, &state, hunt);
        });
        let (followers, plain) = readers.split_at(hunt.nodes);
        let mut reading = Vec::new();
        for (log, follower) in nodes.iter().zip(followers) {
            let (runtime, state) = (&runtime, &state);
            reading.push(scope.spawn(move || {
                let _guard = OverOnPanic(state);
                runtime.block_on(follower.follow(log, state));
            }));
        }
        for reader in plain {
            let state = &state;
            reading.push(scope.spawn(move || {
                let _guard = OverOnPanic(state);
                reader.read(state);
            }));
        }
        let _guard = OverOnPanic(&state);
        let watching = scope.spawn(|| Watch::default().run((followers, plain), &state, &disturbances));
        let began = Instant::now();
        let written = runtime.block_on(write::all(&nodes, &ids, &state, hunt));
        let took = began.elapsed();
        disturbances.stop();
        state.end.store(settled_head(&nodes), Ordering::SeqCst);
        reading.into_iter().for_each(|reading| reading.join().expect("a reader that saw all of it"));
        (written, took, watching.join().expect("no panic"))
    });
    compare(&readers, &written);
    let sound = verify(&*open_shared_reader(&address).expect("a reader"), Depth::Ledger, &mut |_, _| {});
    assert_eq!(sound.expect("a sound log").open_holds, 0);
    let events = state.end.load(Ordering::SeqCst);
    let (first_waits, last_waits) = write::tenths(&written, events);
    HuntResult {
        events,
        took,
        kills: disturbances.kills(),
        rollbacks: disturbances.rollbacks(),
        errors: written.iter().map(|written| written.errors).sum(),
        behind: watched,
        first_waits,
        last_waits,
    }
}

/// Waits until nothing is open any more, and returns where the log ends.
fn settled_head(nodes: &[Log]) -> u64 {
    let began = Instant::now();
    loop {
        let head = nodes.iter().map(|log| log.head().position).max().unwrap_or(0);
        let is_settled = |log: &Log| log.head().position == head && log.figures().open_holds == 0;
        if nodes.iter().all(is_settled) {
            return head;
        }
        assert!(began.elapsed() < END_MAX, "requests are still open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All readers have seen one log, in which everything is where its writer was told it is.
fn compare(readers: &[ReaderProgress], written: &[Written]) {
    let hash = readers[0].hash();
    assert!(readers.iter().all(|reader| reader.hash() == hash), "readers have seen different logs");
    let log = readers[readers.len() - 1].events();
    for (position, request, name) in written.iter().flat_map(|written| &written.acknowledged) {
        let at = &log[usize::try_from(*position).expect("a position") - 1];
        assert_eq!(at, &(Some(*request), *name), "what was acknowledged at {position}");
    }
    let acknowledged = |name: &str| {
        let all = written.iter().flat_map(|written| &written.acknowledged);
        all.filter(|(_, _, acknowledged)| *acknowledged == name).count()
    };
    let recorded = |name: &str| log.iter().filter(|(_, recorded)| *recorded == name).count();
    for name in [write::ADMITTED, write::SETTLED] {
        let errors: u64 = written.iter().map(|written| written.errors).sum();
        let (recorded, acknowledged) = (recorded(name), acknowledged(name));
        assert!(recorded >= acknowledged && (recorded - acknowledged) as u64 <= errors, "{name}: {recorded} recorded");
    }
}

/// Ends the other threads of a hunt if this one finds something.
struct OverOnPanic<'a>(&'a HuntState);

impl Drop for OverOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_over.store(true, Ordering::SeqCst);
        }
    }
}

impl HuntState {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::SeqCst)).filter(|end| *end > 0)
    }

    fn acknowledge(&self, position: u64) {
        self.acknowledged.fetch_max(position, Ordering::SeqCst);
    }
}

/// An event that a caller was told is in the log: its position, its request and the name of its kind.
pub(crate) type Acknowledged = (u64, RequestId, &'static str);

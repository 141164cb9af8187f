//! The crowd: all hostile connections, on a thread of their own, and the statistics of each kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hostile::{Connection, Requests};

/// The time in which all connections are opened. Opened at once, they would measure the length of the kernel's backlog.
pub const RAMP_UP: Duration = Duration::from_secs(2);
/// The lowest priority: clients on other machines would take no CPU time from the gateway.
pub const NICENESS: i32 = 19;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    SlowBody,
    SlowReader,
    Queries,
    HalfOpen,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::SlowBody, Self::SlowReader, Self::Queries, Self::HalfOpen];
    /// The names of the kinds, in the same order, by which one is selected.
    pub const NAMES: [&'static str; 4] = ["bodies", "readers", "queries", "half-open"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowBody => "slow bodies",
            Self::SlowReader => "slow readers of streams",
            Self::Queries => "expensive queries",
            Self::HalfOpen => "half-open streams",
        }
    }

    /// The kind of this name, or all kinds.
    pub fn named(name: Option<&str>) -> Vec<Self> {
        let chosen = Self::NAMES.iter().zip(Self::ALL).filter(|(known, _)| name.is_none_or(|name| name == **known));
        chosen.map(|(_, kind)| kind).collect()
    }
}

/// The statistics of the connections of one kind.
#[derive(Clone, Debug, Default)]
pub struct CrowdStats {
    /// Connections opened, including reopened ones.
    pub opened: usize,
    /// Connections that failed to open or were cut off.
    pub cut_off: usize,
    /// The number of responses by status.
    pub responses: BTreeMap<u16, usize>,
    /// The times from the deletion of the key to the 401 of each connection.
    pub refused_after: Vec<Duration>,
    /// Requests sent after the deletion of the key whose status was not 401.
    pub admitted_after_deletion: usize,
}

impl CrowdStats {
    pub fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.cut_off += other.cut_off;
        self.refused_after.extend(other.refused_after);
        self.admitted_after_deletion += other.admitted_after_deletion;
        for (status, number) in other.responses {
            *self.responses.entry(status).or_default() += number;
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Siege,
    /// The time at which the `DELETE` of the key was answered.
    KeyDeleted(Instant),
    Over,
}

pub type SharedStats = Arc<Mutex<BTreeMap<Kind, CrowdStats>>>;

pub struct Crowd {
    stage: watch::Sender<Stage>,
    thread: JoinHandle<()>,
    stats: SharedStats,
}

impl Crowd {
    /// Starts connections with this key, of these kinds in equal parts.
    pub fn begin(address: SocketAddr, secret: &str, connections: usize, kinds: &[Kind]) -> Self {
        let (stage, stages) = watch::channel(Stage::Siege);
        let stats = SharedStats::default();
        let requests = Arc::new(Requests::of(secret));
        let all: Vec<Connection> = (0..connections)
            .zip(kinds.iter().cycle())
            .map(|(number, kind)| {
                Connection::new(
                    *kind,
                    number / kinds.len(),
                    address,
                    Arc::clone(&requests),
                    (stages.clone(), Arc::clone(&stats)),
                )
            })
            .collect();
        let thread = std::thread::spawn(move || {
            rustix::process::nice(NICENESS).expect("a lower priority");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(besiege(all, stages));
        });
        Self { stage, thread, stats }
    }

    /// Tells the crowd that its key was deleted: from now on every request should be refused.
    pub fn key_was_deleted(&self, at: Instant) {
        self.stage.send_replace(Stage::KeyDeleted(at));
    }

    /// Ends all connections. Returns the statistics of each kind.
    pub fn end(self) -> BTreeMap<Kind, CrowdStats> {
        self.stage.send_replace(Stage::Over);
        self.thread.join().expect("the crowd does not panic");
        std::mem::take(&mut *self.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn besiege(all: Vec<Connection>, mut stages: watch::Receiver<Stage>) {
    let mut crowd = JoinSet::new();
    let step = RAMP_UP / u32::try_from(all.len().max(1)).unwrap_or(u32::MAX);
    for (at, connection) in (0..).zip(all) {
        crowd.spawn(async move {
            tokio::time::sleep(step * at).await;
            connection.run().await;
        });
    }
    // Dropping the set ends the connections that are left.
    let _ = stages.wait_for(|stage| matches!(stage, Stage::Over)).await;
}

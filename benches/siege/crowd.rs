//! The hostile connections together, on a thread of their own, and what they met.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hostile::{Connection, Requests};

/// All connections are opened within this time. Opened at once, they would measure the length of the kernel's backlog.
pub const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// Of the crowd's thread: the lowest. Clients elsewhere would take no processor from the gateway.
const NICENESS: i32 = 19;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    SlowBody,
    SlowReader,
    Queries,
    HalfOpen,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::SlowBody, Self::SlowReader, Self::Queries, Self::HalfOpen];
    /// Of all of them, as they are chosen by.
    pub const NAMES: [&'static str; 4] = ["bodies", "readers", "queries", "half-open"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowBody => "slow bodies",
            Self::SlowReader => "slow readers of streams",
            Self::Queries => "expensive queries",
            Self::HalfOpen => "half-open streams",
        }
    }

    /// `None`: one of each.
    pub fn named(name: Option<&str>) -> Vec<Self> {
        let chosen = Self::NAMES.iter().zip(Self::ALL).filter(|(known, _)| name.is_none_or(|name| name == **known));
        chosen.map(|(_, kind)| kind).collect()
    }
}

/// What the connections of one kind met.
#[derive(Clone, Debug, Default)]
pub struct Met {
    /// Connections that were opened, again ones among them.
    pub opened: usize,
    /// Those that could not be opened, or were cut off.
    pub cut_off: usize,
    pub answers: BTreeMap<u16, usize>,
    /// How long after the end of the key each was first told that it is unknown.
    pub refused_after: Vec<Duration>,
    /// Answers other than 401 to requests that were sent after the end of the key.
    pub let_in: usize,
}

impl Met {
    pub fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.cut_off += other.cut_off;
        self.refused_after.extend(other.refused_after);
        self.let_in += other.let_in;
        for (status, number) in other.answers {
            *self.answers.entry(status).or_default() += number;
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Siege,
    /// The `DELETE` of the key was answered then.
    KeyEnded(Instant),
    Over,
}

pub type Tally = Arc<Mutex<BTreeMap<Kind, Met>>>;

pub struct Crowd {
    stage: watch::Sender<Stage>,
    thread: JoinHandle<()>,
    tally: Tally,
}

impl Crowd {
    /// So many connections with this key, of these kinds in equal parts.
    pub fn begin(address: SocketAddr, secret: &str, connections: usize, kinds: &[Kind]) -> Self {
        let (stage, stages) = watch::channel(Stage::Siege);
        let tally = Tally::default();
        let requests = Arc::new(Requests::of(secret));
        let all: Vec<Connection> = (0..connections)
            .zip(kinds.iter().cycle())
            .map(|(number, kind)| {
                Connection::new(
                    *kind,
                    number / kinds.len(),
                    address,
                    Arc::clone(&requests),
                    (stages.clone(), Arc::clone(&tally)),
                )
            })
            .collect();
        let thread = std::thread::spawn(move || {
            rustix::process::nice(NICENESS).expect("a lower priority");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(besiege(all, stages));
        });
        Self { stage, thread, tally }
    }

    /// From now on every request should be refused.
    pub fn key_has_ended(&self, at: Instant) {
        self.stage.send_replace(Stage::KeyEnded(at));
    }

    /// What each kind met.
    pub fn end(self) -> BTreeMap<Kind, Met> {
        self.stage.send_replace(Stage::Over);
        self.thread.join().expect("the end of the crowd");
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn besiege(all: Vec<Connection>, mut stages: watch::Receiver<Stage>) {
    let mut crowd = JoinSet::new();
    let step = BEGIN_WITHIN / u32::try_from(all.len().max(1)).unwrap_or(u32::MAX);
    for (at, connection) in (0..).zip(all) {
        crowd.spawn(async move {
            tokio::time::sleep(step * at).await;
            connection.go_on().await;
        });
    }
    // Those that are left then are dropped with the set.
    let _ = stages.wait_for(|stage| matches!(stage, Stage::Over)).await;
}

//! Building views anew beside the ones in use. A thread of its own reads the log from its beginning and writes a file of
//! its own; once it has caught up, the views' thread puts the new rows in the place of the old ones, see
//! [`super::swap`]. Until then questions are answered from the old rows, which go on following the log. Nothing is kept
//! over the end of the process: what was not finished is deleted at the next start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::Recorded;
use events::log::{LEDGER_FILE, LogError, open_reader};
use events::time::{Clock, rfc3339};
use serde::{Serialize, Serializer};
use tokio::sync::{mpsc as async_mpsc, watch};

use super::View;
use super::store::{Fitness, Store, StoreError};

/// Events in one transaction.
const EVENTS_MAX: usize = 4096;
/// More than there are views, each of which is asked for once at a time.
const ORDERS_MAX: usize = 16;
/// Before a rebuild that has to be is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    /// Others are being built.
    Waiting,
    Building,
    Done,
    /// The rows are the old ones.
    Failed,
}

/// One rebuild of a view, as `GET /v1/projections` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    pub state: RebuildState,
    #[serde(serialize_with = "as_rfc3339")]
    pub started_at: DateTime<Utc>,
    #[serde(serialize_with = "maybe_as_rfc3339")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Last event that the new rows have taken in.
    pub position: u64,
    /// Last event that they have to; grows with the log.
    pub target: u64,
    /// Of the way, 0 to 100.
    pub percent: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Rebuild {
    pub const fn is_running(&self) -> bool {
        matches!(self.state, RebuildState::Waiting | RebuildState::Building)
    }

    fn advance(&mut self, position: u64, target: u64) {
        self.position = position;
        self.target = target.max(position);
        self.percent = self.position.saturating_mul(100).checked_div(self.target).unwrap_or(0);
    }
}

fn as_rfc3339<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn maybe_as_rfc3339<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

/// No rebuild can begin: the views are stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the views are stopping")]
pub struct Stopping;

enum Order {
    Build(View),
    Stop,
}

/// For those who ask for rebuilds. Cheap to clone; the thread that builds ends with the last of them.
#[derive(Clone)]
pub(super) struct Rebuilds {
    board: Board,
    orders: SyncSender<Order>,
}

impl Rebuilds {
    /// Asks for a view to be built anew; the one that is under way where there is one.
    pub(super) fn begin(&self, view: View, target: u64) -> Result<Rebuild, Stopping> {
        self.board.begin(view, target, || self.orders.try_send(Order::Build(view)).map_err(|_| Stopping))
    }

    pub(super) fn of(&self, view: View) -> Option<Rebuild> {
        self.board.lock().get(&view).cloned()
    }

    pub(super) fn stop(&self) {
        // A full queue has its reader: it will look whether it was stopped.
        let _ = self.orders.try_send(Order::Stop);
    }
}

/// What is being built and what was built last, of every view.
#[derive(Clone)]
struct Board {
    of: Arc<Mutex<BTreeMap<View, Rebuild>>>,
    clock: Arc<dyn Clock>,
}

impl Board {
    /// Puts a rebuild on the board once it is ordered; the one that is under way where there is one. Nobody else sees the
    /// board in between, so that a view which is on it waits for nothing but its turn.
    fn begin(
        &self,
        view: View,
        target: u64,
        order: impl FnOnce() -> Result<(), Stopping>,
    ) -> Result<Rebuild, Stopping> {
        let mut of = self.lock();
        if let Some(running) = of.get(&view).filter(|rebuild| rebuild.is_running()) {
            return Ok(running.clone());
        }
        order()?;
        let begun = Rebuild {
            state: RebuildState::Waiting,
            started_at: self.clock.now(),
            finished_at: None,
            position: 0,
            target,
            percent: 0,
            error: None,
        };
        of.insert(view, begun.clone());
        Ok(begun)
    }

    fn change(&self, views: &[View], change: impl Fn(&mut Rebuild)) {
        let mut of = self.lock();
        views.iter().for_each(|view| {
            if let Some(rebuild) = of.get_mut(view) {
                change(rebuild);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<View, Rebuild>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// New rows that have caught up with the log, for the views' thread to take.
pub(super) struct Built {
    pub(super) next: Store,
    /// Last event that they have taken in.
    pub(super) position: u64,
    pub(super) taken: SyncSender<Result<(), String>>,
}

/// Why views could not be built anew.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("put the new rows in the place of the old ones: {0}")]
    Taken(String),
    #[error("the gateway stopped")]
    Stopped,
}

/// The thread that builds.
pub(super) struct Builder {
    dir: PathBuf,
    board: Board,
    orders: Receiver<Order>,
    built: async_mpsc::Sender<Built>,
    stopped: watch::Receiver<bool>,
    /// Views without rows of this version: these are tried until they are built.
    required: Vec<View>,
}

/// Its two ends: what is asked for, and what comes out of it.
pub(super) fn builder(
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    stopped: watch::Receiver<bool>,
    required: Vec<View>,
) -> (Rebuilds, Builder, async_mpsc::Receiver<Built>) {
    let (orders, queue) = mpsc::sync_channel(ORDERS_MAX);
    let (built, finished) = async_mpsc::channel(1);
    let board = Board { of: Arc::default(), clock };
    let rebuilds = Rebuilds { board: board.clone(), orders };
    (rebuilds, Builder { dir, board, orders: queue, built, stopped, required }, finished)
}

impl Builder {
    pub(super) fn run(mut self) {
        while let Some(views) = self.next_views() {
            self.build(&views);
        }
    }

    /// All that are asked for by now, or have to be tried again; `None` at the end.
    fn next_views(&self) -> Option<Vec<View>> {
        let (mut views, first) = match self.first_order() {
            Ok(order) => (Vec::new(), Some(order)),
            Err(RecvTimeoutError::Timeout) => (self.begin_the_required(), None),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        for order in first.into_iter().chain(self.orders.try_iter()) {
            match order {
                Order::Build(view) if !views.contains(&view) => views.push(view),
                Order::Build(_) => {}
                Order::Stop => return None,
            }
        }
        (!*self.stopped.borrow()).then_some(views)
    }

    fn first_order(&self) -> Result<Order, RecvTimeoutError> {
        if self.required.is_empty() {
            return Ok(self.orders.recv()?);
        }
        self.orders.recv_timeout(RETRY_AFTER)
    }

    fn begin_the_required(&self) -> Vec<View> {
        for view in &self.required {
            // Who builds has nothing to order.
            let _ = self.board.begin(*view, 0, || Ok(()));
        }
        self.required.clone()
    }

    fn build(&mut self, views: &[View]) {
        let names: Vec<&str> = views.iter().map(|view| view.as_str()).collect();
        tracing::info!(views = names.join(","), "building views anew");
        self.board.change(views, |rebuild| rebuild.state = RebuildState::Building);
        let ended = self.try_build(views);
        let finished_at = Some(self.board.clock.now());
        match &ended {
            Ok(position) => {
                self.required.retain(|view| !views.contains(view));
                tracing::info!(views = names.join(","), position, "views were built anew");
            }
            Err(BuildError::Stopped) => {}
            Err(error) => tracing::error!(views = names.join(","), %error, "views could not be built anew"),
        }
        let error = ended.err().map(|error| error.to_string());
        self.board.change(views, |rebuild| {
            rebuild.state = if error.is_none() { RebuildState::Done } else { RebuildState::Failed };
            (rebuild.finished_at, rebuild.error) = (finished_at, error.clone());
        });
    }

    /// The position that the new rows were at when they were taken.
    fn try_build(&self, views: &[View]) -> Result<u64, BuildError> {
        let mut next = Store::beside(&self.dir, views.iter().map(|view| view.projector()).collect())?;
        let reader = open_reader(&self.dir.join(LEDGER_FILE))?;
        let mut position = 0;
        loop {
            if *self.stopped.borrow() {
                return Err(BuildError::Stopped);
            }
            let page: Vec<Arc<Recorded>> = reader.after(position, EVENTS_MAX)?.into_iter().map(Arc::new).collect();
            let Some(last) = page.last() else { break };
            next.apply(&page)?;
            position = last.position;
            let head = reader.head()?.position;
            self.board.change(views, |rebuild| rebuild.advance(position, head));
        }
        let (taken, answer) = mpsc::sync_channel(1);
        self.built.blocking_send(Built { next, position, taken }).map_err(|_| BuildError::Stopped)?;
        let interrupted = |_| match *self.stopped.borrow() {
            true => BuildError::Stopped,
            false => BuildError::Taken("the views were interrupted".to_owned()),
        };
        answer.recv().map_err(interrupted)?.map_err(BuildError::Taken)?;
        Ok(position)
    }
}

/// Rows that are worse than those in use are not taken: none takes the place of one that is further, or that went past the
/// event at which it stopped.
pub(super) fn must_be_better(next: &Store, used: &Store) -> Result<(), String> {
    for view in next.views() {
        let checkpoint = next.checkpoint(view).map_err(|error| error.to_string())?;
        if used.fitness(view) != Fitness::Current {
            continue;
        }
        let in_use = used.checkpoint(view).map_err(|error| error.to_string())?;
        if let (Some(error), None) = (checkpoint.error, in_use.error) {
            return Err(format!("{} stopped at {error}", view.as_str()));
        }
        if checkpoint.position < in_use.position {
            return Err(format!("{} would go back to {}", view.as_str(), checkpoint.position));
        }
    }
    Ok(())
}

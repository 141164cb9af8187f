//! Rebuilds views beside the ones in use: a view is never emptied to be filled again. A separate thread reads the log from its
//! beginning and writes a file of its own. Once that has caught up, the views' thread swaps the new rows in, see
//! [`super::swap`]. Until then queries read the old rows, which keep following the log. Nothing survives the process: the next
//! start deletes an unfinished rebuild.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::time::Clock;
use events_log::{LogError, Reader};
use serde::Serialize;
use tokio::sync::{mpsc as async_mpsc, watch};

use super::View;
use super::log_pages::pages;
use super::store::{Compatibility, Store, StoreError};

/// More than there are views: each view is queued at most once.
const MESSAGES_MAX: usize = 16;
/// Pause before a required rebuild is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The state of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    /// Other views are being rebuilt.
    Waiting,
    Building,
    Done,
    /// The old rows are still in use.
    Failed,
}

/// One rebuild of a view, as `GET /v1/projections` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    pub state: RebuildState,
    #[serde(with = "events::time::wire")]
    pub started_at: DateTime<Utc>,
    #[serde(with = "events::time::wire::option")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Position of the last event in the new rows.
    pub position: u64,
    /// Position that the new rows have to reach; grows with the log.
    pub target: u64,
    /// Progress from 0 to 100.
    pub percent: u64,
    /// Why it failed; `None` unless it did.
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

/// A rebuild cannot start: the views are stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the views are stopping")]
pub struct Stopping;

/// Starts rebuilds. Cheap to clone; the builder's thread ends with the last clone.
#[derive(Clone)]
pub(super) struct RebuildHandle {
    registry: RebuildRegistry,
    messages: SyncSender<BuilderMessage>,
}

enum BuilderMessage {
    Build(View),
    /// Look whether the builder is stopped.
    Wake,
}

impl BuilderMessage {
    const fn view(self) -> Option<View> {
        match self {
            Self::Build(view) => Some(view),
            Self::Wake => None,
        }
    }
}

impl RebuildHandle {
    /// Queues a rebuild of the view. Returns the running one if there is one.
    pub(super) fn request(&self, view: View, target: u64) -> Result<Rebuild, Stopping> {
        self.registry.begin(view, target, || self.messages.try_send(BuilderMessage::Build(view)).map_err(|_| Stopping))
    }

    pub(super) fn status(&self, view: View) -> Option<Rebuild> {
        self.registry.lock().get(&view).cloned()
    }

    pub(super) fn stop(&self) {
        // If the queue is full, the builder is busy and checks by itself whether it was stopped.
        let _ = self.messages.try_send(BuilderMessage::Wake);
    }
}

/// The running or last rebuild of every view.
#[derive(Clone)]
struct RebuildRegistry {
    rebuilds: Arc<Mutex<BTreeMap<View, Rebuild>>>,
    clock: Arc<dyn Clock>,
}

impl RebuildRegistry {
    /// Registers a rebuild once `enqueue` has queued it, or returns the running one. Both happen under one lock, so that a
    /// registered rebuild waits for nothing but its turn.
    fn begin(
        &self,
        view: View,
        target: u64,
        enqueue: impl FnOnce() -> Result<(), Stopping>,
    ) -> Result<Rebuild, Stopping> {
        let mut rebuilds = self.lock();
        if let Some(running) = rebuilds.get(&view).filter(|rebuild| rebuild.is_running()) {
            return Ok(running.clone());
        }
        enqueue()?;
        let rebuild = Rebuild {
            state: RebuildState::Waiting,
            started_at: self.clock.now(),
            finished_at: None,
            position: 0,
            target,
            percent: 0,
            error: None,
        };
        rebuilds.insert(view, rebuild.clone());
        Ok(rebuild)
    }

    fn change(&self, views: &[View], change: impl Fn(&mut Rebuild)) {
        let mut rebuilds = self.lock();
        rebuilds.iter_mut().filter(|(view, _)| views.contains(view)).for_each(|(_, rebuild)| change(rebuild));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<View, Rebuild>> {
        self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// New rows that have caught up with the log, for the views' thread to swap in.
pub(super) struct BuiltRows {
    pub(super) next: Store,
    /// Position of the last event in the new rows.
    pub(super) position: u64,
    pub(super) reply: SyncSender<Result<(), String>>,
}

/// Views could not be rebuilt.
#[derive(Debug, thiserror::Error)]
enum RebuildFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("replace the old rows: {0}")]
    Swap(String),
    #[error("the gateway stopped")]
    Stopped,
}

/// The thread that rebuilds views.
pub(super) struct RebuildThread {
    dir: PathBuf,
    log: Box<dyn Reader>,
    registry: RebuildRegistry,
    messages: Receiver<BuilderMessage>,
    built: async_mpsc::Sender<BuiltRows>,
    stopped: watch::Receiver<bool>,
    /// Views without rows of this version: their rebuild is repeated until it succeeds.
    required: Vec<View>,
}

/// Creates the builder with the handle that starts rebuilds and the receiver of new rows.
pub(super) fn builder(
    dir: PathBuf,
    log: Box<dyn Reader>,
    clock: Arc<dyn Clock>,
    stopped: watch::Receiver<bool>,
    required: Vec<View>,
) -> (RebuildHandle, RebuildThread, async_mpsc::Receiver<BuiltRows>) {
    let (messages, queue) = mpsc::sync_channel(MESSAGES_MAX);
    let (built, finished) = async_mpsc::channel(1);
    let registry = RebuildRegistry { rebuilds: Arc::default(), clock };
    let rebuilds = RebuildHandle { registry: registry.clone(), messages };
    (rebuilds, RebuildThread { dir, log, registry, messages: queue, built, stopped, required }, finished)
}

impl RebuildThread {
    pub(super) fn run(mut self) {
        while let Some(views) = self.next_views() {
            self.build(&views);
        }
    }

    /// The views to rebuild next: all that are queued, or the required ones again. `None` once the builder has to stop.
    fn next_views(&self) -> Option<Vec<View>> {
        let mut views = match self.first_message() {
            Ok(message) => Vec::from_iter(message.view()),
            Err(RecvTimeoutError::Timeout) => self.retry_required(),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        for view in self.messages.try_iter().filter_map(BuilderMessage::view) {
            if !views.contains(&view) {
                views.push(view);
            }
        }
        (!*self.stopped.borrow()).then_some(views)
    }

    fn first_message(&self) -> Result<BuilderMessage, RecvTimeoutError> {
        if self.required.is_empty() {
            return Ok(self.messages.recv()?);
        }
        self.messages.recv_timeout(RETRY_AFTER)
    }

    fn retry_required(&self) -> Vec<View> {
        for view in &self.required {
            // This thread is the builder: nothing has to be queued.
            let _ = self.registry.begin(*view, 0, || Ok(()));
        }
        self.required.clone()
    }

    fn build(&mut self, views: &[View]) {
        let names: Vec<&str> = views.iter().map(|view| view.as_str()).collect();
        tracing::info!(views = names.join(","), "rebuilding views");
        self.registry.change(views, |rebuild| rebuild.state = RebuildState::Building);
        let ended = self.try_build(views);
        let finished_at = Some(self.registry.clock.now());
        match &ended {
            Ok(position) => {
                self.required.retain(|view| !views.contains(view));
                tracing::info!(views = names.join(","), position, "views were rebuilt");
            }
            Err(RebuildFailure::Stopped) => {}
            Err(error) => tracing::error!(views = names.join(","), %error, "views could not be rebuilt"),
        }
        let error = ended.err().map(|error| error.to_string());
        self.registry.change(views, |rebuild| {
            rebuild.state = if error.is_none() { RebuildState::Done } else { RebuildState::Failed };
            (rebuild.finished_at, rebuild.error) = (finished_at, error.clone());
        });
    }

    /// Builds new rows and has them swapped in. Returns their position when they were handed over.
    fn try_build(&self, views: &[View]) -> Result<u64, RebuildFailure> {
        let mut next = Store::create_next(&self.dir, View::projectors(views))?;
        let mut position = 0;
        for page in pages(&*self.log, 0, u64::MAX) {
            let (reached, events) = page?;
            if *self.stopped.borrow() {
                return Err(RebuildFailure::Stopped);
            }
            next.apply(&events)?;
            position = reached;
            let head = self.log.head()?.position;
            self.registry.change(views, |rebuild| rebuild.advance(position, head));
        }
        let (reply, answer) = mpsc::sync_channel(1);
        self.built.blocking_send(BuiltRows { next, position, reply }).map_err(|_| RebuildFailure::Stopped)?;
        let interrupted = |_| match *self.stopped.borrow() {
            true => RebuildFailure::Stopped,
            false => RebuildFailure::Swap("the thread that writes views was interrupted".to_owned()),
        };
        answer.recv().map_err(interrupted)?.map_err(RebuildFailure::Swap)?;
        Ok(position)
    }
}

/// Refuses new rows that are worse than those in use: behind them, or stopped at an event that the ones in use have
/// passed.
pub(super) fn must_not_regress(next: &Store, current: &Store) -> Result<(), String> {
    for view in next.views() {
        let checkpoint = next.checkpoint(view).map_err(|error| error.to_string())?;
        if current.compatibility(view) != Compatibility::Current {
            continue;
        }
        let in_use = current.checkpoint(view).map_err(|error| error.to_string())?;
        if let (Some(error), None) = (checkpoint.error, in_use.error) {
            return Err(format!("{} stopped at {error}", view.as_str()));
        }
        if checkpoint.position < in_use.position {
            return Err(format!("{} would go back to position {}", view.as_str(), checkpoint.position));
        }
    }
    Ok(())
}

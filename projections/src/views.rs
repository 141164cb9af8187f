//! The views that queries read: tables in `DIR/views.db`, derived from the log alone. Delete the file and the next start
//! builds the same rows again.
//!
//! One thread writes them. A batch of rows and the checkpoints that say how far they go are one transaction, so a crash
//! neither loses an event nor applies it twice, and rows do not depend on how the log is cut into batches. A view lags the
//! log; to read its own writes, a caller waits for a position ([`ViewsHandle::wait_for`]). An event that a projector
//! cannot apply stops that view alone, just before the event; the checkpoint keeps the error.
//!
//! Views decide nothing: admission reads the ledger's own balances. They are not written in the log's transaction, so no
//! append pays for them. There are no migrations in place: a view that another version wrote is rebuilt beside its old
//! rows, which keep answering where they can ([`rebuild`]). A trait over other databases was rejected (ADR-0011): views
//! are files of each node, whatever database keeps the log.
//!
//! Each view has a folder: `projector.rs` makes its rows, `questions.rs` defines its queries, and the SQL of both is next to
//! them (`docs/adding-a-view.md`).
//!
//! - `rebuild`, `swap`: rows that are built beside the ones in use. `replay`: the views as of an earlier position, in a file
//!   of its own.
//! - `snapshots` keeps such files, and names them so that only right ones are used (`thinning.rs` says which are kept,
//!   `room.rs` whether the disk has room for one); `snapshot_maker` makes them while a gateway runs.
//! - `past` builds the views that queries ask for by `as_of`; `moment` is the position or time that is asked for.
//! - `touched`: which rows change, noted for the copier on nodes whose views are copied; `copy_source` hands the rows out.
//!   `sql_views`: the SQL views of the file, by which analysts read it. `compare` checks the views.

pub mod compare;
mod copy_source;
mod exact;
mod follow;
mod log_pages;
mod moment;
mod node_views;
pub mod offline;
mod page;
pub mod past;
mod past_error;
mod pool;
mod projector;
mod question;
mod rebuild;
pub mod replay;
pub mod replay_error;
mod request_filter;
pub mod search;
pub mod snapshot_maker;
pub mod snapshots;
mod sql_views;
mod store;
pub mod summary;
mod swap;
mod touched;

// One folder for each view: its projector, its questions and the SQL of both.
pub mod audit {
    mod entry;
    mod filter;
    pub(super) mod projector;
    mod questions;
    pub use entry::AuditEntry;
    pub use filter::{AuditFilter, is_actor_a_name, name_in_resource};
    pub use projector::{Category, Outcome, Severity};
    pub use questions::AuditList;
}
pub mod budgets {
    pub(super) mod projector;
    mod questions;
    pub use questions::{BudgetList, BudgetStatus, Each, OneBudget};
}
pub mod catalogue {
    mod names;
    pub(super) mod projector;
    mod questions;
    pub use names::{IdMatches, IdsByText, MATCHES_MAX, NameScope, NamesById, ResolvedNames, USERS_MAX, kind_of};
    pub use questions::{OneResource, Resource, ResourceFilter, ResourceList};
}
pub mod inferences {
    pub(super) mod projector;
    mod questions;
    pub(super) mod search;
    pub use projector::Status;
    pub use questions::{Counted, CountedRequest, InferenceList, LastRequests, OneInference, StoredRequest};
    pub use search::{InferenceFilter, ROWS_SCANNED_MAX};
}
pub mod usage_by_hour {
    mod callers;
    mod failed_calls;
    mod latency;
    pub(super) mod projector;
    mod questions;
    mod range;
    mod selection;
    mod statements;
    mod sums;
    pub use callers::{Callers, ModelCaller};
    pub use failed_calls::{CalledBackend, FailedCalls};
    pub use questions::{Refused, RefusedRequests, Usage};
    pub use range::{MICROS_PER_HOUR, Range, Span, calendar, monday_of};
    pub use selection::{Dimension, GroupKey, Selection, Totals};
    pub use sums::{COUNTS, FAILED, GroupSums, Groups, REQUESTS, Sums};
}

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::named;
use events::time::Clock;
use events_log::concurrency::QueryPermit;
use events_log::{Head, Log, LogError, thread_priority};
use tokio::sync::{Notify, watch};

pub use copy_source::{CopySnapshot, CopySource, RowsId, TrackedView, ViewChanges};
pub use moment::{Moment, NotRecorded};
pub use node_views::{NodeViews, ViewHandles};
pub use page::PageBounds;
pub use past::{PastViews, PastViewsHandle};
pub use past_error::PastError;
pub use pool::AsOf;
pub use projector::{ProjectionError, Projector};
pub use question::{Question, ViewsError};
pub use rebuild::{Rebuild, RebuildState, Stopping};
pub use request_filter::RequestFilter;
pub use search::SearchResult;
#[doc(hidden)]
pub use store::Store;
pub use store::{Checkpoint, StoreError, VIEWS_FILE};
pub use touched::CopiedPosition;

use follow::{FollowState, ViewWriter};
use log_pages::EVENTS_MAX;
use rebuild::RebuildHandle;
use store::Compatibility;

/// How long a reader waits for a view that is behind.
pub const VIEW_WAIT_MAX: Duration = Duration::from_secs(2);
/// The priority of the views' threads, in units of `nice` below that of requests: a third of their share of a busy core.
const NICENESS: i32 = 5;

named! {
    /// A view: the tables that one projector owns. Its name is the same on the wire and in the database.
    #[derive(PartialOrd, Ord)]
    pub enum View {
        Budgets = "budgets",
        UsageByHour = "usage_by_hour",
        Inferences = "inferences",
        Audit = "audit",
        Catalogue = "catalogue",
    }
}

impl View {
    #[doc(hidden)]
    pub fn projectors(views: &[Self]) -> Vec<Box<dyn Projector>> {
        views.iter().map(|view| view.projector()).collect()
    }

    /// The version of its rows.
    pub fn version(self) -> u32 {
        self.projector().version()
    }

    fn projector(self) -> Box<dyn Projector> {
        match self {
            Self::Budgets => Box::new(budgets::projector::Budgets),
            Self::UsageByHour => Box::new(usage_by_hour::projector::UsageByHour),
            Self::Inferences => Box::new(inferences::projector::Inferences),
            Self::Audit => Box::new(audit::projector::Audit),
            Self::Catalogue => Box::new(catalogue::projector::Catalogue),
        }
    }
}

/// The view did not reach the position within [`VIEW_WAIT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the view {} is at position {position}, behind position {wanted}", view.as_str())]
pub struct Behind {
    pub view: View,
    pub position: u64,
    pub wanted: u64,
}

/// The status of a view, as `GET /v1/projections` shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ViewStatus {
    pub name: &'static str,
    pub version: u32,
    pub position: u64,
    /// Events of the log that it has not applied yet.
    pub lag_events: u64,
    /// Time between the last event that it applied and the last one in the log, in milliseconds.
    pub lag_ms: u64,
    /// True while new rows are built: beside the old ones, or in place where there were none. Also true until the view has
    /// what was recorded before the start.
    pub rebuilding: bool,
    /// The running rebuild, or the last one since the start.
    pub rebuild: Option<Rebuild>,
    /// Why the view stopped; `None` while it follows the log.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    version: u32,
    position: u64,
    recorded_at: Option<DateTime<Utc>>,
    rebuilding: bool,
    /// True if it has no rows that can be read.
    is_unreadable: bool,
    /// The position that it has to reach before it answers; `None` once it has.
    answers_from: Option<u64>,
    error: Option<String>,
}

impl Progress {
    /// Whether questions get an answer.
    const fn can_answer(&self) -> bool {
        !self.is_unreadable && self.answers_from.is_none()
    }
}

/// The views could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("start the views' thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Reads views and starts rebuilds. Cheap to clone.
#[derive(Clone)]
pub struct ViewsHandle {
    inner: Arc<ViewsInner>,
}

struct ViewsInner {
    progress: Vec<(View, watch::Receiver<Progress>)>,
    head: watch::Receiver<Head>,
    catch_up_requested: Arc<Notify>,
    pool: Arc<pool::Pool>,
    rebuilds: RebuildHandle,
}

impl ViewsHandle {
    /// Waits until the view has applied everything up to `position`, and what was recorded before the start, for at most
    /// [`VIEW_WAIT_MAX`]. Returns its position.
    pub async fn wait_for(&self, view: View, position: u64) -> Result<u64, Behind> {
        let Some(progress) = self.progress(view) else { return Err(Behind { view, position: 0, wanted: position }) };
        let is_there = |at: &Progress| at.position >= position && at.answers_from.is_none();
        let reached = Some(progress.borrow()).filter(|at| is_there(at)).map(|at| at.position);
        if let Some(reached) = reached {
            return Ok(reached);
        }
        self.inner.catch_up_requested.notify_one();
        let mut progress_changed = progress.clone();
        let waited = tokio::time::timeout(VIEW_WAIT_MAX, progress_changed.wait_for(is_there)).await;
        match waited {
            Ok(Ok(at)) => Ok(at.position),
            Ok(Err(_)) | Err(_) => {
                let at = progress.borrow();
                Err(Behind { view, position: at.position, wanted: at.answers_from.unwrap_or(0).max(position) })
            }
        }
    }

    /// Answers a question, as of the position that comes with the answer. All views that it reads are at that position.
    /// Errors: one of the views is behind another, for example because it has stopped. A view that has only a part of what was
    /// recorded before the start is being rebuilt: sums of it would be too small.
    pub async fn ask<Q: Question>(&self, permit: &QueryPermit, question: Q) -> Result<AsOf<Q::Answer>, ViewsError> {
        let cannot_answer =
            |view: &&View| self.progress(**view).is_some_and(|progress| !progress.borrow().can_answer());
        if let Some(view) = question.views().iter().find(cannot_answer) {
            return Err(ViewsError::Rebuilding(*view));
        }
        self.inner.pool.ask(permit, question).await
    }

    /// Starts a rebuild of the view, which keeps answering. Returns the running rebuild if there is one.
    pub fn rebuild(&self, view: View) -> Result<Rebuild, Stopping> {
        self.inner.rebuilds.request(view, self.inner.head.borrow().position)
    }

    /// The status of every view, in the order of [`View::ALL`].
    pub fn status(&self) -> Vec<ViewStatus> {
        let head = *self.inner.head.borrow();
        let of = |(view, progress): &(View, watch::Receiver<Progress>)| {
            status(*view, &progress.borrow(), head, self.inner.rebuilds.status(*view))
        };
        self.inner.progress.iter().map(of).collect()
    }

    fn progress(&self, view: View) -> Option<&watch::Receiver<Progress>> {
        self.inner.progress.iter().find(|(of, _)| *of == view).map(|(_, progress)| progress)
    }
}

fn status(view: View, progress: &Progress, head: Head, rebuild: Option<Rebuild>) -> ViewStatus {
    let lag_events = head.position.saturating_sub(progress.position);
    let lag = match (head.recorded_at, progress.recorded_at) {
        (Some(newest), Some(applied)) if lag_events > 0 => (newest - applied).num_milliseconds(),
        _ => 0,
    };
    ViewStatus {
        name: view.as_str(),
        version: progress.version,
        position: progress.position,
        lag_events,
        lag_ms: u64::try_from(lag).unwrap_or(0),
        rebuilding: progress.rebuilding || rebuild.as_ref().is_some_and(Rebuild::is_running),
        rebuild,
        error: progress.error.clone(),
    }
}

/// The thread that writes the views and the thread that rebuilds them. If this is dropped without [`ViewsThread::stop`], the
/// first ends as soon as it notices, the second with the last [`ViewsHandle`].
pub struct ViewsThread {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
    rebuilds: RebuildHandle,
    builder: std::thread::JoinHandle<()>,
}

impl ViewsThread {
    /// Stops both threads and waits for their last transaction. Blocking.
    pub fn stop(self) {
        self.stop.send_replace(true);
        self.rebuilds.stop();
        for (thread, what) in [(self.thread, "the views' thread"), (self.builder, "the thread that rebuilds views")] {
            if thread.join().is_err() {
                tracing::error!("{what} panicked");
            }
        }
    }
}

/// Opens `DIR/views.db`, or recreates it if it cannot be used, and follows the log from there. Views that another version
/// wrote are rebuilt beside their old rows. Blocking.
pub fn start(log: &Log, dir: &Path, clock: Arc<dyn Clock>) -> Result<(ViewsHandle, ViewsThread), StartError> {
    start_with(log, dir, clock, None, View::projectors(View::ALL))
}

/// The same for views that are copied: they note which of their rows change, see [`touched`]. Blocking.
pub fn start_copied(
    log: &Log,
    dir: &Path,
    clock: Arc<dyn Clock>,
    copied: CopiedPosition,
) -> Result<(ViewsHandle, ViewsThread), StartError> {
    start_with(log, dir, clock, Some(copied), View::projectors(View::ALL))
}

fn start_with(
    log: &Log,
    dir: &Path,
    clock: Arc<dyn Clock>,
    copied: Option<CopiedPosition>,
    projectors: Vec<Box<dyn Projector>>,
) -> Result<(ViewsHandle, ViewsThread), StartError> {
    let reader = log.reader()?;
    let mut store = Store::open(dir, projectors, |checkpoint| checkpoint.is_of(&*reader))?;
    store.resume()?;
    if let Some(copied) = copied {
        store.track(copied)?;
    }
    let head = log.head().position;
    let channel = |view| {
        let (sender, receiver) = watch::channel(Progress::default());
        ((view, sender), (view, receiver))
    };
    let (senders, receivers) = store.views().into_iter().map(channel).unzip();
    let (begins_at, outdated) = start_positions(&store, head)?;
    let (epoch, catch_up_requested) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let (stop, stopped) = watch::channel(false);
    let (rebuilds, builder, built) =
        rebuild::builder(dir.to_owned(), log.reader()?, clock, stopped.clone(), outdated.clone());
    let writer = ViewWriter {
        head: log.watch_head(),
        reader,
        log: log.follow(begins_at, EVENTS_MAX),
        catch_up_requested: Arc::clone(&catch_up_requested),
        epoch: Arc::clone(&epoch),
        stopped,
        built,
        state: FollowState { progress: senders, position: begins_at, answers_from: head },
    };
    // Before the first reader has a handle: it must not read unreadable rows.
    writer.state.publish(&store)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("views".to_owned()).spawn(move || {
        thread_priority::lower_by(NICENESS);
        runtime.block_on(writer.run(store));
    })?;
    let builder = std::thread::Builder::new().name("views-rebuild".to_owned()).spawn(move || {
        thread_priority::lower_by(NICENESS);
        builder.run();
    })?;
    let pool = Arc::new(pool::Pool::new(dir, epoch));
    let inner = ViewsInner {
        progress: receivers,
        head: log.watch_head(),
        catch_up_requested,
        pool,
        rebuilds: rebuilds.clone(),
    };
    let views = ViewsHandle { inner: Arc::new(inner) };
    for view in outdated {
        tracing::warn!(view = view.as_str(), "another version wrote this view: rebuilding it");
        // The queue is still empty.
        let _ = views.rebuild(view);
    }
    Ok((views, ViewsThread { stop, thread, rebuilds, builder }))
}

/// The position from which the current views need the log, and the views that another version wrote.
fn start_positions(store: &Store, head: u64) -> Result<(u64, Vec<View>), StoreError> {
    let (current, outdated): (Vec<View>, Vec<View>) =
        store.views().into_iter().partition(|view| store.compatibility(*view) == Compatibility::Current);
    let positions = current.into_iter().map(|view| Ok(store.checkpoint(view)?.position));
    let positions = positions.collect::<Result<Vec<u64>, StoreError>>()?;
    Ok((positions.into_iter().min().unwrap_or(head), outdated))
}

#[cfg(test)]
mod tests;

//! The task that keeps the tables current. Changes of administration wake it, and it reads only those from the log: all
//! other events cost it nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use events_log::{Log, LogError};
use tokio::sync::watch;

use super::Tables;
use super::lag::TablesLag;
use crate::BackgroundTask;

/// Pause after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The time in which many changes are one for whoever walks over much at a change.
const CHANGES_PAUSE: Duration = Duration::from_millis(500);

/// How long a request waits until the tables have what other nodes have recorded.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The outcome of waiting for what other nodes have recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The missing entry may be there now.
    FoundMore,
    /// Nothing new: what was missing does not exist.
    FoundNothing,
    /// The node could not catch up in time, so it cannot say.
    TimedOut,
}

/// Access to the newest tables. Cheap to clone.
#[derive(Clone)]
pub struct TablesHandle {
    current: Arc<ArcSwap<Tables>>,
    position: watch::Receiver<u64>,
    administration: watch::Receiver<u64>,
    lag: Arc<TablesLag>,
}

impl TablesHandle {
    /// The newest snapshot. Use it for one decision, not longer.
    pub fn load(&self) -> Arc<Tables> {
        self.current.load_full()
    }

    /// Whether tables at this position have every recorded change of administration.
    pub fn are_current(&self, position: u64) -> bool {
        *self.administration.borrow() <= position
    }

    /// How long the tables can have lacked a change of administration that is in the log; zero if they lack none that this
    /// process knows of.
    pub fn lag(&self) -> Duration {
        self.lag.now()
    }

    /// Waits until the tables have changed since the last call, or since this handle was cloned. Returns false once they no
    /// longer follow the log.
    pub async fn changed(&mut self) -> bool {
        self.position.changed().await.is_ok()
    }

    /// Waits until the tables have changed, and for what else changes soon after: for whoever walks over much that is in memory, and need
    /// not do so at every change. Returns false once they no longer follow the log.
    pub async fn changed_for_a_while(&mut self) -> bool {
        let has_changed = self.changed().await;
        if has_changed {
            tokio::time::sleep(CHANGES_PAUSE).await;
            self.position.mark_unchanged();
        }
        has_changed
    }

    /// Waits until the tables have every change recorded so far. Returns false if that takes longer than `deadline`.
    pub async fn catch_up(&self, deadline: Duration) -> bool {
        let recorded = *self.administration.borrow();
        self.wait_for(recorded, deadline).await
    }

    /// Waits until the tables have what other nodes had recorded before the call. It costs the database nothing. `seen` is the
    /// position of the tables that lacked something.
    pub async fn catch_up_with_others(&self, log: &Log, seen: u64) -> CatchUp {
        if !log.is_shared() {
            return CatchUp::FoundNothing;
        }
        let caught_up = async {
            log.wait_for_head_check().await;
            self.catch_up(CATCH_UP_MAX).await
        };
        match tokio::time::timeout(CATCH_UP_MAX, caught_up).await {
            Ok(true) if self.load().position > seen => CatchUp::FoundMore,
            Ok(true) => CatchUp::FoundNothing,
            Ok(false) | Err(_) => CatchUp::TimedOut,
        }
    }

    /// Waits until the tables have every change up to `position`. Returns false if that takes longer than `deadline`.
    pub async fn wait_for(&self, position: u64, deadline: Duration) -> bool {
        // No event after the last change of administration concerns the tables.
        let wanted = position.min(*self.administration.borrow());
        let mut position_changed = self.position.clone();
        let reached = position_changed.wait_for(|reached| *reached >= wanted);
        matches!(tokio::time::timeout(deadline, reached).await, Ok(Ok(_)))
    }
}

/// Builds the tables from the log and starts the task that follows it, until the log is closed. Needs a tokio runtime.
/// Errors: the log cannot be read.
pub async fn start(log: &Log) -> Result<(TablesHandle, BackgroundTask), LogError> {
    // Watched before the log is read, so that a change in between wakes the task.
    let administration = log.watch_administration();
    let mut tables = Tables::default();
    catch_up(log, &mut tables).await?;
    let current = Arc::new(ArcSwap::from_pointee(tables.clone()));
    let (position_changed, position) = watch::channel(tables.position);
    let lag = Arc::<TablesLag>::default();
    let administration_known = administration.clone();
    let handle = TablesHandle {
        current: Arc::clone(&current),
        position,
        administration: administration_known,
        lag: Arc::clone(&lag),
    };
    let updater = TablesUpdater { log: log.clone(), tables, current, position_changed, lag };
    Ok((handle, BackgroundTask::start(|stopped| updater.run(administration, stopped))))
}

struct TablesUpdater {
    log: Log,
    /// The working copy; snapshots are copies of it.
    tables: Tables,
    current: Arc<ArcSwap<Tables>>,
    position_changed: watch::Sender<u64>,
    lag: Arc<TablesLag>,
}

impl TablesUpdater {
    async fn run(mut self, mut administration: watch::Receiver<u64>, mut stopped: watch::Receiver<bool>) {
        loop {
            let behind = administration.wait_for(|position| *position > self.tables.position);
            tokio::select! {
                changed = behind => if changed.is_err() { return },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let began = Instant::now();
            let recorded = began.checked_sub(self.log.last_change_age());
            self.lag.begins(recorded.unwrap_or(began));
            match catch_up(&self.log, &mut self.tables).await {
                Ok(()) => {
                    self.publish();
                    self.lag.ends();
                    // What they lack now was recorded after they were read.
                    if *administration.borrow() > self.tables.position {
                        self.lag.begins(began);
                    }
                }
                // The tables lag meanwhile, which makes the node not ready.
                Err(error) => {
                    tracing::error!(%error, "the tables cannot read the log: trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Publishes the tables before the position: a caller that waited for the position finds its change.
    fn publish(&self) {
        self.current.store(Arc::new(self.tables.clone()));
        self.position_changed.send_replace(self.tables.position);
    }
}

/// Applies the changes of administration after the tables' position.
async fn catch_up(log: &Log, tables: &mut Tables) -> Result<(), LogError> {
    for recorded in &log.administration_after(tables.position).await? {
        tables.fold(recorded);
    }
    Ok(())
}

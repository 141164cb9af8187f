//! Keeps the tables at the log: woken when administration has changed something, they read what it was. Everything else
//! that is recorded passes them by, and costs them nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use events::log::{Log, LogError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Tables;

/// Between attempts to read the log after one has failed.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The tables as they are now. Cheap to clone.
#[derive(Clone)]
pub struct TablesHandle {
    current: Arc<ArcSwap<Tables>>,
    position: watch::Receiver<u64>,
    administration: watch::Receiver<u64>,
}

impl TablesHandle {
    /// The newest snapshot; hold on to it for one decision, not longer.
    pub fn load(&self) -> Arc<Tables> {
        self.current.load_full()
    }

    /// Whether nothing that administration has recorded is missing in tables of this position.
    pub fn are_current(&self, position: u64) -> bool {
        *self.administration.borrow() <= position
    }

    /// Waits until all that administration has recorded by now is in the tables; `false` when it is not within `deadline`.
    pub async fn catch_up(&self, deadline: Duration) -> bool {
        let recorded = *self.administration.borrow();
        self.wait_for(recorded, deadline).await
    }

    /// Waits until everything up to `position` is in the tables; `false` when it is not within `deadline`.
    pub async fn wait_for(&self, position: u64, deadline: Duration) -> bool {
        // Nothing that came after the last change of administration concerns them.
        let wanted = position.min(*self.administration.borrow());
        let mut moved = self.position.clone();
        let reached = moved.wait_for(|reached| *reached >= wanted);
        matches!(tokio::time::timeout(deadline, reached).await, Ok(Ok(_)))
    }
}

/// The task that feeds the tables. Ends when it is stopped or dropped, or when the log is closed.
pub struct Feed {
    task: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Feed {
    /// Stops following and waits for the task's end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.task.join_next().await.is_some() {}
    }
}

/// Builds the tables from the log and follows it from then on. Needs a tokio runtime.
/// Errors: the log cannot be read.
pub async fn start(log: &Log) -> Result<(TablesHandle, Feed), LogError> {
    // Watched first: what is recorded while the log is read wakes the feed.
    let administration = log.watch_administration();
    let mut tables = Tables::default();
    catch_up(log, &mut tables).await?;
    let current = Arc::new(ArcSwap::from_pointee(tables.clone()));
    let (moved, position) = watch::channel(tables.position);
    let handle = TablesHandle { current: Arc::clone(&current), position, administration: administration.clone() };
    let (stop, stopped) = watch::channel(false);
    let follower = Follower { log: log.clone(), tables, current, moved };
    let mut task = JoinSet::new();
    task.spawn(follower.run(administration, stopped));
    Ok((handle, Feed { task, stop }))
}

struct Follower {
    log: Log,
    /// Worked on; what is published are copies of it.
    tables: Tables,
    current: Arc<ArcSwap<Tables>>,
    moved: watch::Sender<u64>,
}

impl Follower {
    async fn run(mut self, mut administration: watch::Receiver<u64>, mut stopped: watch::Receiver<bool>) {
        loop {
            let behind = administration.wait_for(|position| *position > self.tables.position);
            tokio::select! {
                changed = behind => if changed.is_err() { return },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            match catch_up(&self.log, &mut self.tables).await {
                Ok(()) => self.publish(),
                // The tables stay where they are meanwhile, which makes the node not ready.
                Err(error) => {
                    tracing::error!(%error, "the tables cannot read the log");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Tables before position: whoever has waited for the position finds its change.
    fn publish(&self) {
        self.current.store(Arc::new(self.tables.clone()));
        self.moved.send_replace(self.tables.position);
    }
}

/// Folds what administration has recorded since.
async fn catch_up(log: &Log, tables: &mut Tables) -> Result<(), LogError> {
    for recorded in &log.administration_after(tables.position).await? {
        tables.fold(recorded);
    }
    Ok(())
}

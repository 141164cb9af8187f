//! Keeps the tables at the log's head: folds administration from the tail, and lets everything else only move the
//! position. A follower that lags reads administration from the database anew.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use events::event::{Recorded, StreamKind};
use events::log::{Log, LogError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::Tables;

/// Between attempts to read the log after one has failed.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The tables as they are now. Cheap to clone.
#[derive(Clone)]
pub struct TablesHandle {
    current: Arc<ArcSwap<Tables>>,
    position: watch::Receiver<u64>,
}

impl TablesHandle {
    /// The newest snapshot; hold on to it for one decision, not longer.
    pub fn load(&self) -> Arc<Tables> {
        self.current.load_full()
    }

    /// Everything up to this log position is in the tables. Follows the head also over what they ignore.
    pub fn position(&self) -> u64 {
        *self.position.borrow()
    }

    /// Waits until the tables have got to `position`; `false` when they have not within `deadline`.
    pub async fn wait_for(&self, position: u64, deadline: Duration) -> bool {
        let mut moved = self.position.clone();
        let reached = moved.wait_for(|reached| *reached >= position);
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
    // The tail first: what is recorded while the database is read comes with it as well, and is skipped.
    let tail = log.tail();
    let mut tables = Tables::default();
    let position = catch_up(log, &mut tables, 0).await?;
    let current = Arc::new(ArcSwap::from_pointee(tables.clone()));
    let (moved, watched) = watch::channel(position);
    let (stop, stopped) = watch::channel(false);
    let follower = Follower { log: log.clone(), tables, current: Arc::clone(&current), position, moved };
    let mut task = JoinSet::new();
    task.spawn(follower.run(tail, stopped));
    Ok((TablesHandle { current, position: watched }, Feed { task, stop }))
}

struct Follower {
    log: Log,
    /// Worked on; what is published are copies of it.
    tables: Tables,
    current: Arc<ArcSwap<Tables>>,
    position: u64,
    moved: watch::Sender<u64>,
}

impl Follower {
    async fn run(mut self, mut tail: broadcast::Receiver<Arc<[Arc<Recorded>]>>, mut stopped: watch::Receiver<bool>) {
        loop {
            let received = tokio::select! {
                received = tail.recv() => received,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match received {
                Ok(batch) => self.take(&batch),
                Err(RecvError::Lagged(batches)) => {
                    tracing::warn!(batches, "the tables lag behind the log and read it from the database");
                    self.reread().await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn take(&mut self, batch: &[Arc<Recorded>]) {
        let Some(last) = batch.last() else { return };
        let unseen = batch.iter().filter(|recorded| recorded.position > self.position);
        let mut changed = false;
        for recorded in unseen.filter(|recorded| is_administration(recorded)) {
            self.tables.fold(recorded);
            changed = true;
        }
        self.publish(changed, last.position);
    }

    /// Until it succeeds: without it the tables would miss what has changed. They stay at their position meanwhile,
    /// which makes the node not ready.
    async fn reread(&mut self) {
        loop {
            match catch_up(&self.log, &mut self.tables, self.position).await {
                Ok(position) => return self.publish(true, position),
                Err(error) => tracing::error!(%error, "the tables cannot read the log"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Tables before position: whoever has waited for the position finds its change.
    fn publish(&mut self, changed: bool, position: u64) {
        if changed {
            self.current.store(Arc::new(self.tables.clone()));
        }
        if position > self.position {
            self.position = position;
            self.moved.send_replace(position);
        }
    }
}

/// Folds the administration beyond `after`; the position that the tables then reflect.
async fn catch_up(log: &Log, tables: &mut Tables, after: u64) -> Result<u64, LogError> {
    let (head, administration) = log.read(|reader| Ok((reader.head()?.position, reader.administration()?))).await?;
    let mut position = head.max(after);
    for recorded in administration.iter().filter(|recorded| recorded.position > after) {
        tables.fold(recorded);
        position = position.max(recorded.position);
    }
    Ok(position)
}

fn is_administration(recorded: &Recorded) -> bool {
    StreamKind::ADMIN.contains(&recorded.stream.kind)
}

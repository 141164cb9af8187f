//! Follows the log's tail, a few times a second: nobody waits for a figure unless it is asked for.

use std::sync::Arc;
use std::time::Duration;

use events::event::Recorded;
use events::log::{Log, LogError};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, watch};

use super::series::Series;
use crate::tables::TablesHandle;

/// Between two looks at the tail. It keeps a thousand batches, which the writer does not make in this time.
const PACE: Duration = Duration::from_millis(50);
/// Events that are read at a time where the tail has a gap.
const PAGE: usize = 1024;
/// After the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(super) struct Follower {
    pub log: Log,
    pub tables: TablesHandle,
    pub tail: broadcast::Receiver<Arc<[Arc<Recorded>]>>,
    pub series: Series,
    /// The position up to which everything has been counted.
    pub moved: watch::Sender<u64>,
    /// Somebody asks for the figures.
    pub wanted: Arc<Notify>,
}

impl Follower {
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                batch = self.tail.recv() => batch,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            if matches!(first, Err(RecvError::Closed)) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = self.wanted.notified() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let is_whole = first.is_ok_and(|batch| self.take(&batch)) && self.drain().await;
            while !is_whole && self.catch_up().await.is_err() {
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
        }
    }

    /// Whether nothing was missing in front of it.
    fn take(&mut self, batch: &[Arc<Recorded>]) -> bool {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return true };
        let counted = *self.moved.borrow();
        if first.position > counted + 1 {
            return false;
        }
        let tables = self.tables.load();
        for recorded in batch.iter().filter(|recorded| recorded.position > counted) {
            self.series.count(recorded, &tables);
        }
        self.series.count_batch(batch.len());
        self.moved.send_replace(counted.max(last.position));
        true
    }

    /// What else is there. Whether nothing was missing.
    async fn drain(&mut self) -> bool {
        loop {
            // Requests are served by the same threads.
            tokio::task::yield_now().await;
            match self.tail.try_recv() {
                Ok(batch) if self.take(&batch) => {}
                Ok(_) | Err(TryRecvError::Lagged(_)) => return false,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return true,
            }
        }
    }

    /// Reads what is missing from the database.
    async fn catch_up(&mut self) -> Result<(), LogError> {
        loop {
            let after = *self.moved.borrow();
            let page = self.log.follow(move |reader| reader.after(after, PAGE)).await.inspect_err(|error| {
                tracing::warn!(%error, "the figures cannot read the log");
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            let tables = self.tables.load();
            page.iter().for_each(|recorded| self.series.count(recorded, &tables));
            self.moved.send_replace(last.position);
        }
    }
}

//! Follows the log, a few times a second: nobody waits for a figure unless it is asked for.

use std::sync::Arc;
use std::time::Duration;

use events::log::{Followed, Follower};
use tokio::sync::{Notify, watch};

use super::series::Series;
use crate::tables::TablesHandle;

/// Between two looks at the log.
const PACE: Duration = Duration::from_millis(50);
/// Events that are read at a time where the database has to be read.
pub(super) const PAGE: usize = 1024;
/// After the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(super) struct Counter {
    pub log: Follower,
    pub tables: TablesHandle,
    pub series: Series,
    /// The position up to which everything has been counted.
    pub moved: watch::Sender<u64>,
    /// Somebody asks for the figures.
    pub wanted: Arc<Notify>,
}

impl Counter {
    /// Until the log is closed, or it is stopped.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = self.count_all() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn count_all(&mut self) {
        loop {
            match self.log.next().await {
                Ok(None) => return,
                Ok(Some(first)) => {
                    if matches!(first, Followed::Batch(_)) {
                        tokio::select! {
                            () = tokio::time::sleep(PACE) => {}
                            () = self.wanted.notified() => {}
                        }
                    }
                    self.count(&first);
                    while let Some(next) = self.log.try_next() {
                        // Requests are served by the same threads.
                        tokio::task::yield_now().await;
                        self.count(&next);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the figures cannot read the log");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn count(&mut self, followed: &Followed) {
        let tables = self.tables.load();
        followed.events().iter().for_each(|recorded| self.series.count(recorded, &tables));
        if let Followed::Batch(events) = followed {
            self.series.count_batch(events.len());
        }
        // After each batch: who asks for the figures does not wait until no more batches come.
        self.moved.send_replace(self.log.position());
    }
}

//! The loop that counts what this process appended: it follows the log a few times a second, and at once when the figures are
//! read. In a log that others append to as well, each process counts its own part, so that the sum over all of them is the whole.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use events::event::Recorded;
use events_log::{Followed, Follower};
use tokio::sync::{Notify, watch};

use super::series::Series;
use crate::tables::TablesHandle;

/// Pause before a new batch is counted, so that several are counted together.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(super) struct FiguresCounter {
    pub log: Follower,
    pub tables: TablesHandle,
    pub series: Series,
    /// Publishes the position up to which everything is counted.
    pub position_changed: watch::Sender<u64>,
    /// Notified when the figures are read.
    pub count_requested: Arc<Notify>,
}

impl FiguresCounter {
    /// Runs until the log is closed or it is stopped.
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
                    if first.is_new() {
                        tokio::select! {
                            () = tokio::time::sleep(BATCH_INTERVAL) => {}
                            () = self.count_requested.notified() => {}
                        }
                    }
                    self.count(&first).await;
                    while let Some(next) = self.log.try_next() {
                        // Other tasks of this runtime have their turn.
                        tokio::task::yield_now().await;
                        self.count(&next).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the figures cannot read the log: trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn count(&mut self, followed: &Followed) {
        match followed {
            Followed::Batch(events) => {
                let tables = self.tables.load();
                events.iter().for_each(|recorded| self.series.count(recorded, &tables));
                self.series.count_batch(events.len());
            }
            Followed::Others(events) => events.iter().for_each(|recorded| self.series.count_of_others(recorded)),
            Followed::Page(events) => {
                let own = self.own_positions(events).await;
                let tables = self.tables.load();
                for recorded in events.iter() {
                    match own.iter().any(|positions| positions.contains(&recorded.position)) {
                        true => self.series.count(recorded, &tables),
                        false => self.series.count_of_others(recorded),
                    }
                }
            }
            Followed::CaughtUp => {}
        }
        // After each batch, so that readers of the figures do not wait until no more batches come.
        self.position_changed.send_replace(self.log.position());
    }

    /// Asks until it is known: what was not counted would be missing for ever.
    async fn own_positions(&mut self, page: &[Arc<Recorded>]) -> Vec<RangeInclusive<u64>> {
        loop {
            match self.log.own_positions(page).await {
                Ok(own) => return own,
                Err(error) => {
                    tracing::warn!(%error, "the figures cannot read who appended what: trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

//! Metrics that are counted from the log, for `/metrics`. They count the events recorded since the process started, so they
//! agree with the ledger to the last nano-dollar, and counting is off the request path.

mod families;
mod follow;
mod money;
mod names;
mod registry;
mod series;

use std::sync::Arc;
use std::time::Duration;

use events_log::{Log, PAGE_EVENTS};
use prometheus::Registry;
use tokio::sync::{Notify, watch};

use crate::BackgroundTask;
use crate::tables::TablesHandle;
use follow::FiguresCounter;
use money::MoneyCounters;
use series::Series;

pub use names::{BoundedLabels, OTHER, TENANT_OWNED};
pub use registry::{GaugeGuard, registered};
pub use series::{MODELS_MAX, PROVIDERS_MAX};

/// How long a reader waits for the events recorded before its request.
const FIGURES_WAIT_MAX: Duration = Duration::from_millis(500);

/// Reads the figures. Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    money: Arc<MoneyCounters>,
    count_requested: Arc<Notify>,
    position: watch::Receiver<u64>,
}

impl Figures {
    /// Waits until everything up to `position` is counted, for at most half a second.
    pub async fn wait_for(&self, position: u64) {
        self.count_requested.notify_one();
        let mut position_changed = self.position.clone();
        // After a timeout the reader gets what there is: a late metric is worth more than none.
        let _ = tokio::time::timeout(FIGURES_WAIT_MAX, position_changed.wait_for(|reached| *reached >= position)).await;
    }

    /// Writes the amounts in the text format. They are not in the registry, whose numbers are floats.
    pub fn write_money(&self, out: &mut String) {
        self.money.write(out);
    }
}

/// Starts counting the events recorded from now on, until the log is closed. Needs a tokio runtime.
/// Errors: the registry already has families of these names.
pub fn start(
    log: &Log,
    tables: &TablesHandle,
    registry: &Registry,
) -> Result<(Figures, BackgroundTask), prometheus::Error> {
    let log = log.follow_from_now(PAGE_EVENTS);
    let money = Arc::<MoneyCounters>::default();
    let series = Series::register(registry, Arc::clone(&money))?;
    let (position_changed, position) = watch::channel(log.position());
    let count_requested = Arc::<Notify>::default();
    let counter = FiguresCounter {
        log,
        tables: tables.clone(),
        series,
        position_changed,
        count_requested: Arc::clone(&count_requested),
    };
    Ok((Figures { money, count_requested, position }, BackgroundTask::start(|stopped| counter.run(stopped))))
}

#[cfg(test)]
mod tests;

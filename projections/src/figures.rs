//! What the log says in numbers, for `/metrics`: counted from the events that were recorded since the process began, so
//! that they agree with the ledger to the last nano-dollar, and off the request path.

mod families;
mod follow;
mod money;
mod names;
mod series;

use std::sync::Arc;
use std::time::Duration;

use events::log::Log;
use prometheus::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::tables::TablesHandle;
use follow::Counter;
use money::Money;
use series::Series;

pub use names::{Names, OTHER, TENANT_OWNED};
pub use series::{MODELS_MAX, PROVIDERS_MAX};

/// How long a reader waits for what was recorded before it asked.
const FIGURES_WAIT_MAX: Duration = Duration::from_millis(500);

/// For who shows the figures. Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    money: Arc<Money>,
    wanted: Arc<Notify>,
    position: watch::Receiver<u64>,
}

impl Figures {
    /// Waits until everything up to `position` has been counted, and no longer than half a second.
    pub async fn wait_for(&self, position: u64) {
        self.wanted.notify_one();
        let mut moved = self.position.clone();
        // Who is not there in time shows what there is: a metric that is late is worth more than none.
        let _ = tokio::time::timeout(FIGURES_WAIT_MAX, moved.wait_for(|reached| *reached >= position)).await;
    }

    /// The amounts, in the text format. They are not in the registry, whose numbers are floats.
    pub fn write_money(&self, out: &mut String) {
        self.money.write(out);
    }
}

/// The task that counts. Ends when it is stopped or dropped, or when the log is closed.
pub struct Counting {
    task: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Counting {
    /// Stops counting and waits for the task's end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.task.join_next().await.is_some() {}
    }
}

/// Counts what is recorded from now on. Needs a tokio runtime.
/// Errors: the registry has families of these names already.
pub fn start(log: &Log, tables: &TablesHandle, registry: &Registry) -> Result<(Figures, Counting), prometheus::Error> {
    let log = log.follow_from_now(follow::PAGE);
    let money = Arc::<Money>::default();
    let series = Series::register(registry, Arc::clone(&money))?;
    let (moved, position) = watch::channel(log.position());
    let wanted = Arc::<Notify>::default();
    let (stop, stopped) = watch::channel(false);
    let counter = Counter { log, tables: tables.clone(), series, moved, wanted: Arc::clone(&wanted) };
    let mut task = JoinSet::new();
    task.spawn(counter.run(stopped));
    Ok((Figures { money, wanted, position }, Counting { task, stop }))
}

#[cfg(test)]
mod tests;

//! Imports that are in force in the data folder, and are still to be recorded, in their order.
//!
//! They are in memory only: a crash loses them. Keeping them in the folder was rejected, because a file beside the ledger that is part
//! of it for a while would have to be backed up and moved with it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::event::ResourceState;
use events::event::admin::Price;
use events::log::{Append, AppendError, Log};
use tokio::time::timeout;

use crate::admin::CommandError;

/// The most imports that are kept. While there are so many, no other one is put in force.
const KEPT_MAX: usize = 8;

/// The appends that record them, the oldest first.
#[derive(Default)]
pub struct KeptImports {
    appends: Mutex<VecDeque<Append>>,
}

impl KeptImports {
    pub fn is_empty(&self) -> bool {
        self.appends().is_empty()
    }

    /// True if another import may be put in force.
    pub fn have_room(&self) -> bool {
        self.appends().len() < KEPT_MAX
    }

    /// Keeps an import that is in force now.
    pub fn push(&self, append: Append) {
        self.appends().push_back(append);
    }

    /// Records what is kept. Returns the position of the last one; `None` if there was none.
    ///
    /// Errors: the oldest could not be recorded. It is still kept, as are those after it.
    pub async fn record(&self, log: &Log) -> Result<Option<u64>, CommandError> {
        let mut position = None;
        loop {
            let Some(oldest) = self.appends().front().cloned() else { return Ok(position) };
            let stream = oldest.stream.clone();
            position = match log.append(oldest).await {
                Ok(appended) => Some(appended.last),
                // An earlier attempt has recorded it, and did not learn so.
                Err(AppendError::OptimisticLock) => Some(log.head().position),
                Err(error) => return Err(CommandError::of_append(Price::KIND, error)),
            };
            self.appends().pop_front_if(|oldest| oldest.stream == stream);
        }
    }

    /// Records what is kept before the process ends, within this time. What is not recorded then is lost with the process.
    pub async fn record_before_stop(&self, log: &Log, max: Duration) {
        let recorded = timeout(max, self.record(log)).await;
        let imports = self.appends().len();
        match recorded {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, imports, "imports that are in force could not be recorded"),
            Err(_) => tracing::error!(imports, "imports that are in force could not be recorded in time"),
        }
    }

    fn appends(&self) -> MutexGuard<'_, VecDeque<Append>> {
        self.appends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Imports that are in force in the data folder, and are still to be recorded, in their order.
//!
//! They are in memory only: a crash loses them. Keeping them in the folder was rejected, because a file beside the ledger that is part
//! of it for a while would have to be backed up and moved with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::event::ResourceState;
use events::event::admin::Price;
use events::private::ReplaceError;
use events_log::{Append, AppendError, Log};
use tokio::time::timeout;

use crate::admin::CommandError;
use crate::admin::import_error::ImportError;

/// The most imports that are kept. While there are so many, no other one is put in force.
const KEPT_MAX: usize = 8;

/// The appends that record them, the oldest first.
#[derive(Default)]
pub struct KeptImports {
    appends: Mutex<VecDeque<Append>>,
    /// Locked from before an import is written until it is kept.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl KeptImports {
    pub fn is_empty(&self) -> bool {
        self.appends().is_empty()
    }

    /// True if another import may be put in force.
    pub fn have_room(&self) -> bool {
        self.appends().len() < KEPT_MAX
    }

    /// Puts an import in force with `write`, which may block, and keeps it. Once begun, that goes on if this future is dropped.
    ///
    /// Errors: [`ImportError::NotWritten`] if it is not in force.
    pub async fn put_in_force(
        self: &Arc<Self>,
        append: Append,
        write: impl FnOnce() -> Result<(), ReplaceError> + Send + 'static,
    ) -> Result<(), CommandError> {
        let writing = Arc::clone(&self.writing).lock_owned().await;
        let kept_imports = Arc::clone(self);
        let written = blocking_work::CONFIGURATION.run(None, move || {
            let _writing = writing;
            match write() {
                Err(ReplaceError::NotReplaced(error)) => return Err(ImportError::NotWritten(error)),
                Err(error @ ReplaceError::NotSynced(_)) => tracing::warn!(%error, "the catalogue is in force"),
                Ok(()) => {}
            }
            kept_imports.appends().push_back(append);
            Ok(())
        });
        Ok(written.await.map_err(|error| CommandError::Defect(error.to_string()))??)
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

    /// Records what is kept before the process ends, and what is still being written, within this time. What is not recorded then is
    /// lost with the process.
    pub async fn record_before_stop(&self, log: &Log, max: Duration) {
        let recorded = timeout(max, async {
            let _written = self.writing.lock().await;
            self.record(log).await
        });
        let recorded = recorded.await;
        let imports = self.appends().len() + usize::from(self.writing.try_lock().is_err());
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

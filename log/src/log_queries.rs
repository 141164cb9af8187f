//! The log for clients' queries.

use std::sync::Arc;

use tokio::sync::watch;

use crate::concurrency::QueryPermit;
use crate::{Head, LogError, LogInner, PositionStatus, Reader};

/// The log as clients' queries read it: each needs a permit, and they have their own connections. Cheap to clone.
#[derive(Clone)]
pub struct LogQueries {
    pub(super) inner: Arc<LogInner>,
}

impl LogQueries {
    /// The last durable event.
    pub fn head(&self) -> Head {
        *self.inner.published.head.borrow()
    }

    /// The head, which changes with every durable batch.
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.inner.published.head.clone()
    }

    /// Waits until this process knows of a position that another one may have appended, for as long as it may take to hear
    /// of one. In a log that only this process appends to, it knows of all.
    pub async fn wait_until_known(&self, position: u64) -> PositionStatus {
        self.inner.wait_until_known(position).await
    }

    /// Reads off the async threads. Interrupted at the permit's deadline, or soon after the caller stops waiting.
    pub async fn read<T: Send + 'static>(
        &self,
        permit: &QueryPermit,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.inner.readers.query(permit, work).await
    }
}

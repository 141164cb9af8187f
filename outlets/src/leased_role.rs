//! A role while this process has its lease.

use events::backoff::Backoff;
use events::log::{Lease, Log, LogError};
use events::role::{RoleMemory, RoleStatus};
use events::time::Clock;

/// The tools of an outlet while this process has its role.
pub struct LeasedRole<'a> {
    pub log: &'a Log,
    pub clock: &'a dyn Clock,
    /// The status of the role that `/health` and the metrics show.
    pub status: &'a RoleStatus,
    pub lease: &'a Lease,
    /// The pauses after failures.
    pub backoff: &'a mut Backoff,
}

impl LeasedRole<'_> {
    /// Returns the last memory of the role, or else the end of the log, which is remembered then: a new receiver does not get the past.
    pub async fn memory_or_head(&self) -> Result<RoleMemory, LogError> {
        if let Some(memory) = self.lease.memory().await? {
            return Ok(memory);
        }
        let head = RoleMemory { position: self.log.head().position, detail: String::new() };
        self.remember(head.clone()).await?;
        Ok(head)
    }

    /// Remembers for the next process with the role. Does not return once another process has the role: what follows would be the
    /// work of that one.
    pub async fn remember(&self, memory: RoleMemory) -> Result<(), LogError> {
        if !self.lease.remember(memory).await? {
            // The lease is lost within a moment, which drops this.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// All up to a position is done, and attempts succeed again.
    pub fn succeeded(&mut self, position: u64) {
        self.backoff.reset();
        self.status.working();
        self.status.reached(position);
    }
}

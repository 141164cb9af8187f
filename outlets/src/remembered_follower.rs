//! Following the log from where the role was the last time.

use std::time::Duration;

use events_log::role::RoleMemory;
use events_log::{Followed, Follower, LogError};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::LeasedRole;

/// How often the position is remembered while nothing is.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);

/// A follower of the log that begins after the position that the role remembered, and remembers from time to time what has passed.
pub struct RememberedFollower {
    follower: Follower,
    remembered: RoleMemory,
    interval: Interval,
}

impl RememberedFollower {
    /// From what was remembered last, or else from the end of the log. `page` is how many recorded events are read at a time.
    pub async fn begin(role: &LeasedRole<'_>, page: usize) -> Result<Self, LogError> {
        let remembered = role.memory_or_head().await?;
        let mut interval = interval(REMEMBER_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        role.status.reached(remembered.position);
        Ok(Self { follower: role.log.follow(remembered.position, page), remembered, interval })
    }

    /// The next events; `None` once the log is closed. Those before are done. Cancel-safe.
    pub async fn next(&mut self, role: &LeasedRole<'_>) -> Result<Option<Followed>, LogError> {
        let done = self.follower.position();
        loop {
            tokio::select! {
                _ = self.interval.tick(), if self.remembered.position < done => {
                    let memory = RoleMemory { position: done, detail: self.remembered.detail.clone() };
                    self.remember(role, memory).await?;
                }
                followed = self.follower.next() => return followed,
            }
        }
    }

    /// The position of the last event that was returned.
    pub const fn position(&self) -> u64 {
        self.follower.position()
    }

    /// Remembers at once: what was just delivered is hardly ever delivered twice.
    pub async fn remember(&mut self, role: &LeasedRole<'_>, memory: RoleMemory) -> Result<(), LogError> {
        role.remember(memory.clone()).await?;
        self.remembered = memory;
        Ok(())
    }
}

//! What a node has of the limits whose counts it shares with others.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use events::log::{LimitSharingSign, Log};
use events::time::Clock;
use projections::tables::TablesHandle;
use prometheus::Registry;
use shared_limits::{CounterConnection, CounterError, RedisAddress};
use tokio_util::task::TaskTracker;

use super::corrections::Corrections;
use super::counts::{Instants, SharedCounts};
use super::figures::SharedFigures;
use super::group::Groups;
use super::link::{Link, LinkFailure};
use super::mode::Modes;
use crate::limits::DefaultLimits;
use crate::limits::slots::Slots;

/// A request that was counted longer ago than this counts anew when it is admitted: a window by the times of admissions must not
/// hold more than one by the times of the counts.
const COUNTED_LATELY: Duration = Duration::from_millis(250);

/// What a shared limiter is made of.
pub struct SharedLimiterParts {
    /// As in the register of running nodes, if there is one.
    pub node: String,
    pub address: RedisAddress,
    /// What other nodes see of it in the register.
    pub sign: LimitSharingSign,
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub defaults: DefaultLimits,
}

/// The limits whose counts this node shares with others.
pub struct SharedLimiter {
    pub(super) parts: SharedLimiterParts,
    pub(super) slots: Slots<SharedCounts>,
    pub(super) groups: Groups,
    pub(super) corrections: Corrections,
    pub(super) modes: Modes,
    pub(super) link: Link,
    pub(super) figures: SharedFigures,
    /// From when on it is known what others admitted, by the monotonic clock.
    pub(super) known_since_micros: AtomicI64,
    /// The calls whose request has gone.
    pub(super) calls: TaskTracker,
    markers: AtomicU64,
    states: AtomicU64,
}

impl SharedLimiter {
    /// Errors: the registry already has its metrics.
    pub(super) fn new(parts: SharedLimiterParts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let (figures, modes) = (SharedFigures::register(registry)?, Modes::new(&parts.node));
        let link = Link::new(parts.sign.clone());
        Ok(Self {
            parts,
            slots: Slots::default(),
            groups: Groups::default(),
            corrections: Corrections::default(),
            modes,
            link,
            figures,
            known_since_micros: AtomicI64::new(i64::MAX),
            calls: TaskTracker::new(),
            markers: AtomicU64::new(0),
            states: AtomicU64::new(0),
        })
    }

    /// Whether a window by the time of an admission, which is now, could hold more than one by the time of this count.
    pub(super) fn is_long_ago(&self, counted_micros: i64) -> bool {
        let lately = i64::try_from(COUNTED_LATELY.as_micros()).unwrap_or(0);
        self.now_micros().saturating_sub(counted_micros) > lately
    }

    pub fn known_position(&self) -> u64 {
        self.modes.known().position
    }

    /// As [`RateLimiter::wait_for`](crate::limits::RateLimiter::wait_for).
    pub async fn wait_for(&self, position: u64, deadline: Duration) -> bool {
        self.modes.wait_for(|known| known.position >= position, deadline).await
    }

    pub(super) async fn open(&self) -> Result<CounterConnection, CounterError> {
        CounterConnection::open(&self.parts.address, &self.parts.node).await
    }

    pub(super) fn fail(&self, turn: u64, reason: &str) {
        self.link.fail(LinkFailure { turn, reason: reason.to_owned() });
    }

    /// Text that no marker had before.
    pub(super) fn new_marker(&self) -> String {
        format!("{}-{}", self.parts.node, self.markers.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of the next state of a slot, which must be locked.
    pub(super) fn next_state(&self) -> u64 {
        self.states.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn instants(&self) -> Instants {
        let known_since_micros = self.known_since_micros.load(Ordering::Relaxed);
        Instants { now_micros: self.now_micros(), known_since_micros }
    }

    pub(super) fn now_micros(&self) -> i64 {
        i64::try_from(self.parts.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }
}

//! This node's view of the limits whose counts it shares with others.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::limit::Measure;
use events::time::Clock;
use events_log::{LimitSharingSign, Log};
use prometheus::Registry;
use shared_limits::RedisAddress;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use super::counted::Counted;
use super::counts::SharedCounts;
use super::figures::SharedFigures;
use super::group::Groups;
use super::link::{Link, Outage};
use super::turns::RedisTurns;
use crate::limits::binding::ApplicableLimit;
use crate::limits::remaining::RemainingLimit;
use crate::limits::slots::{SlotKey, Slots};

/// A request that was counted longer ago than this counts anew when it is admitted: a window by the times of admissions must not
/// hold more than one by the times of the counts.
const COUNTED_LATELY: Duration = Duration::from_millis(250);
/// The parts of a shared limiter.
pub struct SharedLimiterParts {
    /// This node's name in the register of running nodes, if there is one.
    pub node: String,
    pub address: RedisAddress,
    /// The mark that other nodes see in the register for this one.
    pub sign: LimitSharingSign,
    pub log: Log,
    pub clock: Arc<dyn Clock>,
}

/// The limits whose counts this node shares with others.
pub struct SharedLimiter {
    pub(super) parts: SharedLimiterParts,
    pub(super) slots: Slots<SharedCounts>,
    pub(super) groups: Groups,
    pub(super) link: Link,
    pub(super) figures: SharedFigures,
    /// The nodes among which limits are divided while this one cannot use Redis: those that serve, and this one.
    pub(super) nodes: watch::Sender<Vec<String>>,
    /// The calls to Redis. They end even if their request has gone: otherwise nobody would know whether something was counted.
    pub(super) calls: TaskTracker,
    pub(super) turns: RedisTurns,
    /// The last number of a connection or a state.
    numbers: AtomicU64,
    /// The limits of which Redis has to be told something.
    owed: Mutex<HashSet<SlotKey>>,
    is_owed: Notify,
}

impl SharedLimiter {
    /// Errors: the registry already has its metrics.
    pub(super) fn new(parts: SharedLimiterParts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let (figures, nodes) = (SharedFigures::register(registry)?, watch::Sender::new(vec![parts.node.clone()]));
        let link = Link::new(parts.sign.clone(), parts.clock.now());
        Ok(Self {
            parts,
            slots: Slots::default(),
            groups: Groups::default(),
            link,
            figures,
            nodes,
            calls: TaskTracker::new(),
            turns: RedisTurns::default(),
            numbers: AtomicU64::new(0),
            owed: Mutex::default(),
            is_owed: Notify::new(),
        })
    }

    /// Whether a window by the time of an admission, which is now, could hold more than one by the time of this count.
    pub(super) fn is_old(&self, counted: &Counted) -> bool {
        let lately = i64::try_from(COUNTED_LATELY.as_micros()).unwrap_or(0);
        !counted.counts.is_empty() && self.now_micros().saturating_sub(counted.at_micros) > lately
    }

    /// Redis has failed over this connection: from here on, this node counts by its share.
    pub(super) fn fail(&self, connection: u64, reason: &str) {
        let outage = Outage { began_at: self.parts.clock.now(), reason: reason.to_owned() };
        if self.link.disconnect(connection, outage) {
            self.figures.local_period_begins();
        }
    }

    /// Redis has to be told something of a limit.
    pub(super) fn owe(&self, key: SlotKey) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.is_owed.notify_one();
    }

    /// Waits until Redis has to be told something, and returns the limits.
    pub(super) async fn owed(&self) -> HashSet<SlotKey> {
        self.is_owed.notified().await;
        std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rises with each connection and each state.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn now_micros(&self) -> i64 {
        i64::try_from(self.parts.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }

    /// Does the same as [`RateLimiter::remaining`](crate::limits::RateLimiter::remaining).
    pub(in crate::limits) fn remaining(&self, limits: Vec<ApplicableLimit>) -> Vec<RemainingLimit> {
        let left = |slot: &mut SharedCounts, measure, limit| self.remaining_of(slot, measure, limit);
        RemainingLimit::all_of(limits, &self.slots, self.parts.clock.now(), left)
    }

    pub(super) fn remaining_of(
        &self,
        slot: &mut SharedCounts,
        measure: Measure,
        limit: u64,
    ) -> (u64, Option<Duration>) {
        let now_micros = self.now_micros();
        slot.advance(now_micros);
        match self.link.number() {
            Some(_) => slot.remaining(measure, limit, now_micros),
            None => slot.remaining_share(measure, limit, self.nodes.borrow().len() as u64),
        }
    }
}

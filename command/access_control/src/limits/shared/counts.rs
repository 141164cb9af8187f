//! A node's view of one limit whose counts are shared.

use std::sync::Arc;
use std::time::Duration;

use events::limit::Measure;
use shared_limits::{BucketState, Correction, LimitCall, LimitState, Standing, WindowState};

use super::group::Group;
use crate::limits::slot::{Shortage, Slot};
use crate::limits::slots::Counts;
use crate::limits::window::{BucketNumber, Keeping};

/// For how long what Redis said of others' running requests is shown: nobody knows when they end.
const RUNNING_SHOWN: Duration = Duration::from_secs(1);

/// The counts of one limit, as one node has them.
pub struct SharedCounts {
    pub group: Arc<Group>,
    /// All that this node has counted, in Redis or by its share.
    own: Slot,
    /// Counts of other nodes that Redis had when it was last asked.
    others: Vec<OfOthers>,
    /// The number of the last state that was sent; 0 if Redis has none that the node can rely on.
    sent: u64,
    /// Changes since then that Redis was not told yet.
    untold: Vec<Correction>,
    /// Redis may have a running request of this node that has ended.
    is_owing: bool,
}

struct OfOthers {
    measure: Measure,
    amount: u64,
    more_at_micros: Option<i64>,
    at_micros: i64,
}

/// This node's share of a limit that is divided among so many nodes. A larger amount fits if nothing else is counted.
pub fn share(limit: u64, nodes: u64, amount: u64) -> u64 {
    (limit / nodes.max(1)).max(amount.min(limit))
}

/// How long a measure keeps what it counts; `None` for running requests.
pub fn kept(measure: Measure) -> Option<Duration> {
    measure.window().map(|span| Keeping::Longer.kept(span))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// From an earlier instant on.
fn since(earlier_micros: i64, now_micros: i64) -> Duration {
    Duration::from_micros(now_micros.saturating_sub(earlier_micros).try_into().unwrap_or(0))
}

impl SharedCounts {
    pub fn new(group: Arc<Group>) -> Self {
        Self { group, own: Slot::shared(), others: Vec::new(), sent: 0, untold: Vec::new(), is_owing: false }
    }

    pub fn advance(&mut self, now_micros: i64) {
        self.own.advance(now_micros);
    }

    /// Counts an amount of this node's own, and returns its bucket. A running request has none.
    pub fn count(&mut self, measure: Measure, amount: u64, now_micros: i64) -> Option<BucketNumber> {
        if measure == Measure::ConcurrentRequests {
            self.own.begin_request();
            self.group.request_begins();
        }
        self.own.count(measure, amount, now_micros)
    }

    /// Replaces an amount of this node's own. Of a running request, it ends it.
    pub fn correct(&mut self, measure: Measure, bucket: Option<BucketNumber>, was: u64, is: u64) {
        match bucket {
            Some(bucket) => self.own.correct(measure, bucket, was, is),
            None if measure == Measure::ConcurrentRequests => {
                self.own.end_request();
                self.group.request_ends();
            }
            None => {}
        }
    }

    /// Redis has to be told of a correction, over the connection of this number; `None` if there is none now, so that the state that is
    /// sent over the next one has it.
    pub fn tell(&mut self, correction: Correction, connection: Option<u64>) {
        if !connection.is_some_and(|connection| self.is_sent_over(connection)) {
            self.is_owing = true;
            return;
        }
        let Correction { measure, bucket, delta } = correction;
        match self.untold.iter_mut().find(|known| known.measure == measure && known.bucket == bucket) {
            Some(known) => known.delta = known.delta.saturating_add(delta),
            None => self.untold.push(correction),
        }
    }

    /// Whether Redis has been sent a state over the connection of this number.
    const fn is_sent_over(&self, connection: u64) -> bool {
        self.sent > connection
    }

    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Redis does not have the state of this number.
    pub const fn forget_sent(&mut self, number: u64) {
        if self.sent == number {
            (self.sent, self.is_owing) = (0, true);
        }
    }

    /// Begins a call over the connection of this number: with the changes that Redis was not told, or with all that
    /// this node counts.
    pub fn call(&mut self, limit: String, connection: u64, next: impl FnOnce() -> u64, now_micros: i64) -> LimitCall {
        let corrections = std::mem::take(&mut self.untold);
        if self.is_sent_over(connection) {
            return LimitCall { limit, number: self.sent, corrections, ..LimitCall::default() };
        }
        (self.sent, self.is_owing) = (next(), false);
        LimitCall { limit, number: self.sent, state: Some(self.state(now_micros)), ..LimitCall::default() }
    }

    fn state(&mut self, now_micros: i64) -> LimitState {
        self.advance(now_micros);
        let bucket = |(number, newest, amount): (BucketNumber, i64, u64)| BucketState {
            number: number.number(),
            age: since(newest, now_micros),
            amount,
        };
        let windows = self.own.windows().iter();
        let windows = windows.map(|(measure, window)| WindowState {
            measure: *measure,
            buckets: window.buckets().map(bucket).collect(),
        });
        LimitState { running: self.own.running(), windows: windows.collect() }
    }

    /// Why an amount does not fit into this node's share of a limit.
    pub fn shortage_of_share(&self, measure: Measure, limit: u64, amount: u64, nodes: u64) -> Option<Shortage> {
        self.own.shortage(measure, share(limit, nodes, amount), amount)
    }

    /// Keeps what Redis says that all nodes have counted.
    pub fn learn(&mut self, measure: Measure, standing: &Standing, now_micros: i64) {
        let amount = standing.counted.saturating_sub(self.counted(measure));
        let more_at_micros = standing.more_in.map(|wait| now_micros.saturating_add(micros(wait)));
        let learned = OfOthers { measure, amount, more_at_micros, at_micros: now_micros };
        match self.others.iter_mut().find(|known| known.measure == measure) {
            Some(known) => *known = learned,
            None => self.others.push(learned),
        }
    }

    fn counted(&self, measure: Measure) -> u64 {
        if measure == Measure::ConcurrentRequests { self.own.running() } else { self.own.counted(measure) }
    }

    /// Returns the remainder of a limit by what this node knows, and how long until there is more.
    pub fn remaining(&self, measure: Measure, limit: u64, now_micros: i64) -> (u64, Option<Duration>) {
        let (left, wait) = self.own.remaining(measure, limit);
        let others = self.others.iter().find(|known| known.measure == measure);
        let Some(others) = others.filter(|known| known.still_counts(now_micros)) else { return (left, wait) };
        let more_in = others.more_at_micros.map(|at| since(now_micros, at)).filter(|wait| !wait.is_zero());
        (left.saturating_sub(others.amount), more_in.or(wait))
    }

    /// Returns the remainder of this node's share, and how long until there is more.
    pub fn remaining_share(&self, measure: Measure, limit: u64, nodes: u64) -> (u64, Option<Duration>) {
        self.own.remaining(measure, share(limit, nodes, 1))
    }
}

impl OfOthers {
    fn still_counts(&self, now_micros: i64) -> bool {
        since(self.at_micros, now_micros) < kept(self.measure).unwrap_or(RUNNING_SHOWN)
    }
}

impl Counts for SharedCounts {
    fn is_idle(&self, now_micros: i64) -> bool {
        let others_count = |known: &OfOthers| known.amount > 0 && known.still_counts(now_micros);
        self.own.is_idle(now_micros)
            && self.untold.is_empty()
            && !self.is_owing
            && !self.others.iter().any(others_count)
    }
}

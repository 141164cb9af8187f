//! An admitted request under limits whose counts are shared.

use std::sync::Arc;

use super::binding::{Counted, Demand, SharedLimits, Told};
use super::group::Group;
use super::state::SharedLimiter;

/// As [`RateLimitPermit`](crate::limits::RateLimitPermit).
pub struct SharedPermit {
    pub(super) limits: SharedLimits,
    /// The turn in which the request was counted. In another one it is counted again before it is admitted.
    pub(super) turn: u64,
    pub(super) requests: Counted,
    pub(super) tokens: Option<ReservedTokens>,
}

pub(super) struct ReservedTokens {
    pub(super) counted: Counted,
    pub(super) amount: u64,
}

impl SharedPermit {
    pub(super) fn new(limits: SharedLimits, turn: u64, requests: Counted) -> Self {
        limits.groups_with_places().for_each(|group| group.request_begins());
        Self { limits, turn, requests, tokens: None }
    }

    pub fn limiter(&self) -> &Arc<SharedLimiter> {
        self.limits.limiter()
    }

    /// The tokens that it has reserved; `None` if no limit counts any.
    pub fn reserved(&self) -> Option<u64> {
        self.tokens.as_ref().filter(|tokens| !tokens.counted.buckets.is_empty()).map(|tokens| tokens.amount)
    }

    /// Replaces the reservation by the tokens used, which count from when the request was admitted.
    pub fn settle(&mut self, used: u64) {
        if let Some(reserved) = self.tokens.take() {
            self.limits.correct(&reserved.counted, |_| used, Told::Redis);
        }
    }

    /// Counts the reservation as used, because the usage is unknown.
    pub fn keep_reserved(&mut self) {
        self.tokens = None;
    }

    /// Whether a window by the time of its admission, which is now, could hold more than one by the times of the counts.
    pub fn was_counted_long_ago(&self) -> bool {
        let limiter = self.limiter();
        let counted = [Some(&self.requests), self.tokens.as_ref().map(|tokens| &tokens.counted)];
        counted.into_iter().flatten().any(|counted| counted.is_old(limiter))
    }

    /// Counts an admitted request from now on. It runs to its end even if the client leaves, because the admission is in the log.
    /// `None` if the process ends first.
    pub async fn into_admitted(mut self: Box<Self>) -> Option<Box<Self>> {
        let limiter = Arc::clone(self.limiter());
        let calls = limiter.calls.clone();
        let counting = async move {
            limiter.count_as_admitted(&mut self).await;
            self
        };
        calls.spawn(counting).await.ok()
    }

    /// The request counts no longer, as if it had never been admitted.
    pub fn take_back(&mut self) {
        self.settle(0);
        let requests = std::mem::take(&mut self.requests);
        self.limits.correct(&requests, |_| 0, Told::Redis);
    }
}

impl Drop for SharedPermit {
    fn drop(&mut self) {
        self.settle(0);
        self.limits.end_request(Told::Redis);
        self.limits.groups_with_places().for_each(|group| group.request_ends());
    }
}

/// What a request has counted so far. Dropped before the request is counted anew, it is taken back.
pub(super) struct PreviousCount<'a> {
    pub(super) limits: &'a SharedLimits,
    counted: Option<Counted>,
}

impl<'a> PreviousCount<'a> {
    pub(super) const fn none(limits: &'a SharedLimits) -> Self {
        Self { limits, counted: None }
    }

    pub(super) fn of(limits: &'a SharedLimits, counted: &mut Counted) -> Self {
        Self { limits, counted: Some(std::mem::take(counted)) }
    }

    /// The count, which the caller now takes back.
    pub(super) const fn take(&mut self) -> Option<Counted> {
        self.counted.take()
    }
}

impl Drop for PreviousCount<'_> {
    fn drop(&mut self) {
        if let Some(counted) = self.take() {
            self.limits.correct(&counted, |_| 0, Told::Redis);
        }
    }
}

/// What the limiter has counted on this node while it waits for Redis. Dropped without an answer, nothing of it counts.
pub(super) struct Provisional {
    pub(super) limits: SharedLimits,
    pub(super) counted: Counted,
    pub(super) demand: Demand,
}

impl Provisional {
    /// Redis has not counted it, or its answer did not arrive.
    pub(super) fn undo(self) {
        self.undo_where(Told::Nobody);
        // Not before: a state that is made meanwhile still has it.
        self.limits.mark_in_doubt();
    }

    /// Redis has counted it in these groups, and no other.
    pub(super) fn undo_in(self, groups: &[Arc<Group>]) {
        self.undo_where(Told::RedisIn(groups));
    }

    /// Redis has counted it, or may have been told so by a state of the slot.
    pub(super) fn take_back(self) {
        self.limits.correct(&self.counted, |_| 0, Told::Redis);
        self.end_request(Told::Redis);
    }

    fn undo_where(&self, told: Told<'_>) {
        self.limits.take_back_undecided(&self.counted, told);
        self.end_request(told);
    }

    fn end_request(&self, told: Told<'_>) {
        if self.demand == Demand::Request {
            self.limits.end_request(told);
        }
    }
}

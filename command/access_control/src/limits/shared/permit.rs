//! An admitted request under limits whose counts are shared.

use std::sync::Arc;

use super::binding::SharedLimits;
use super::counted::Counted;
use super::limiter::SharedLimiter;
use crate::limits::tokens::TokenAmounts;

/// The permit of a request under limits whose counts nodes share; see
/// [`RateLimitPermit`](crate::limits::RateLimitPermit).
pub struct SharedPermit {
    pub(super) limits: SharedLimits,
    /// Its places while it runs.
    places: Counted,
    pub(super) requests: Counted,
    pub(super) tokens: Option<ReservedTokens>,
}

pub(super) struct ReservedTokens {
    pub(super) counted: Counted,
    pub(super) amount: TokenAmounts,
}

impl SharedPermit {
    pub(super) fn new(limits: SharedLimits, counted: Counted) -> Self {
        let (places, requests) = counted.split();
        Self { limits, places, requests, tokens: None }
    }

    pub fn limiter(&self) -> &Arc<SharedLimiter> {
        self.limits.limiter()
    }

    /// The tokens that it has reserved; `None` if no limit counts any.
    pub fn reserved(&self) -> Option<u64> {
        self.tokens.as_ref().map(|tokens| tokens.amount.all)
    }

    /// Replaces the reservation by the tokens used, which count from when the request was admitted.
    pub fn settle(&mut self, used: TokenAmounts) {
        if let Some(reserved) = self.tokens.take() {
            self.limits.correct(&reserved.counted, reserved.amount.used(used));
        }
    }

    /// Counts the reservation as used, because the usage is unknown.
    pub fn keep_reserved(&mut self) {
        self.tokens = None;
    }

    /// Whether a window by the time of its admission, which is now, could hold more than one by the times of the counts.
    pub fn was_counted_long_ago(&self) -> bool {
        let counted = [Some(&self.requests), self.tokens.as_ref().map(|tokens| &tokens.counted)];
        counted.into_iter().flatten().any(|counted| self.limiter().is_old(counted))
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
        self.settle(TokenAmounts::NONE);
        self.limits.correct(&std::mem::take(&mut self.requests), TokenAmounts::NONE);
    }
}

impl Drop for SharedPermit {
    fn drop(&mut self) {
        self.settle(TokenAmounts::NONE);
        self.limits.correct(&self.places, TokenAmounts::NONE);
    }
}
